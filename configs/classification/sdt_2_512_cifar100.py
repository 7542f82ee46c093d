# Spike-driven Transformer 2-512 on CIFAR-100 at 32x32, as published, in float32.
#   python tools/train.py configs/classification/sdt_2_512_cifar100.py
# Expected on the test split: top-1 78.4 (Yao et al., arXiv 2307.01694). Not rerun here.
# Needs data/cifar100, laid out as data/cifar10 is. 64 pictures on one GPU.
_base_ = ['sdt_2_512_cifar10.py']

model = dict(model_name='sdt_2_512_cifar100', num_classes=100)
data_preprocessor = dict(num_classes=100, mean=[129.3105, 124.1085, 112.404], std=[68.2125, 65.4075, 70.4055])
train_pipeline = _base_.train_pipeline
train_pipeline[2].hparams.pad_val = [112, 124, 129]
train_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
test_dataloader = val_dataloader
