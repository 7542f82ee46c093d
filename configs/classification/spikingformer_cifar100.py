# STEP's Spikingformer 4-384 on CIFAR-100 at 32x32, as published.
#   python tools/train.py configs/classification/spikingformer_cifar100.py --amp
# Expected on the test split: top-1 79.12 (STEP, arXiv 2505.11151). Not rerun here.
# Needs data/cifar100, laid out as data/cifar10 is. 64 pictures on one GPU.
_base_ = ['spikingformer_4_384_cifar100.py']

model = dict(model_name='spikingformer_cifar100')
