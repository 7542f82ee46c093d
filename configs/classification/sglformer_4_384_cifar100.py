# SGLFormer-4-384 on CIFAR-100 at 32x32, as published.
#   python tools/train.py configs/classification/sglformer_4_384_cifar100.py --amp
# Expected on the test split: top-1 82.26 (Zhang et al., doi 10.3389/fnins.2024.1371290). Not rerun here.
# The mean and deviation are those of CIFAR-10, as published.
# Needs data/cifar100, laid out as data/cifar10 is. 64 pictures on one GPU.
_base_ = ['sglformer_4_384_cifar10.py']

model = dict(model_name='sglformer_4_384_cifar100', num_classes=100)
data_preprocessor = dict(num_classes=100)
train_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
val_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(weight_decay=0.05))
