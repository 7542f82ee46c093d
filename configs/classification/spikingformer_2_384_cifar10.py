# Spikingformer 2-384 on CIFAR-10 at 32x32, by the published recipe of its 4-384.
#   python tools/train.py configs/classification/spikingformer_2_384_cifar10.py --amp
# Expected on the test split: top-1 95.22 (Zhou et al., arXiv 2304.11954). Not rerun here.
# Needs data/cifar10. 64 pictures on one GPU.
_base_ = ['spikingformer_4_384_cifar10.py']

model = dict(model_name='spikingformer_2_384_cifar')
