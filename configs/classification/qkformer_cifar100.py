# QKFormer on CIFAR-100 at 32x32, as STEP trained it.
#   python tools/train.py configs/classification/qkformer_cifar100.py --amp
# Expected on the test split: top-1 79.72 (STEP, arXiv 2505.11151), by its authors 81.15. Not rerun here.
# Needs data/cifar100, laid out as data/cifar10 is. 128 pictures on one GPU.
_base_ = ['qkformer_cifar10.py']

model = dict(model_name='qkformer_cifar100', num_classes=100)
data_preprocessor = dict(num_classes=100)
train_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
val_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
test_dataloader = val_dataloader
