# SpikingResformer-Ti* on CIFAR-100 at 32x32, as published.
#   python tools/train.py configs/classification/spikingresformer_ti_cifar100.py --amp
# Expected: published (Shi et al., arXiv 2403.14302), and not at hand.
# Needs data/cifar100, laid out as data/cifar10 is. 128 pictures on one GPU.
_base_ = ['spikingresformer_ti_cifar10.py']

model = dict(model_name='spikingresformer_ti_cifar100', num_classes=100)
data_preprocessor = dict(num_classes=100, mean=[129.3, 124.1, 112.4], std=[68.2, 65.4, 70.4])
train_pipeline = _base_.train_pipeline
train_pipeline[2].hparams.pad_val = [112, 124, 129]
train_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
test_dataloader = val_dataloader
