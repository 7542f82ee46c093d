# STEP's Spikingformer 4-384 on CIFAR-100 at 32x32, as published.
#   python tools/train.py configs/classification/spikingformer_cifar100.py --amp
# Expected on the test split: top-1 79.12 (STEP, arXiv 2505.11151). Not rerun here.
# The mean and deviation are those of CIFAR-10, as published.
# Needs data/cifar100, laid out as data/cifar10 is. 64 pictures on one GPU.
_base_ = ['spikingformer_cifar10.py']

model = dict(model_name='spikingformer_cifar100', num_classes=100)
data_preprocessor = dict(num_classes=100)
train_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
val_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
test_dataloader = val_dataloader
