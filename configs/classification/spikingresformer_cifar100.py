# STEP's SpikingResformer on CIFAR-100 at 32x32, as published.
#   python tools/train.py configs/classification/spikingresformer_cifar100.py --amp
# Expected on the test split: top-1 79.45 (STEP, arXiv 2505.11151). Not rerun here.
# The mean and deviation are those of CIFAR-10, as published.
# Needs data/cifar100, laid out as data/cifar10 is. 128 pictures on one GPU.
_base_ = ['spikingresformer_cifar10.py']

model = dict(model_name='spikingresformer_cifar100', num_classes=100)
data_preprocessor = dict(num_classes=100)
train_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
val_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
test_dataloader = val_dataloader
