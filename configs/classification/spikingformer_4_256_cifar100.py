# Spikingformer 4-256 on CIFAR-100 at 32x32, by the published recipe of its 4-384.
#   python tools/train.py configs/classification/spikingformer_4_256_cifar100.py --amp
# Expected on the test split: top-1 77.43 (Zhou et al., arXiv 2304.11954). Not rerun here.
# Needs data/cifar100, laid out as data/cifar10 is. 64 pictures on one GPU.
_base_ = ['spikingformer_4_384_cifar100.py']

model = dict(model_name='spikingformer_4_256_cifar100')
