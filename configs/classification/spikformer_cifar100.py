# Spikformer-4-384 on CIFAR-100 at 32x32, as STEP trains it.
#   python tools/train.py configs/classification/spikformer_cifar100.py --amp
# Expected on the test split: top-1 77.37 (STEP, arXiv 2505.11151). Not rerun here.
# The mean and deviation are those of CIFAR-10, as published.
# Needs data/cifar100, laid out as data/cifar10 is. 128 pictures on one GPU.
_base_ = ['spikformer_cifar10.py']

model = dict(model_name='spikformer_cifar100', num_classes=100)
data_preprocessor = dict(num_classes=100)
train_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
val_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
test_dataloader = val_dataloader
