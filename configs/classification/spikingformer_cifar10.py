# STEP's Spikingformer 4-384 on CIFAR-10 at 32x32, as published.
#   python tools/train.py configs/classification/spikingformer_cifar10.py --amp
# Expected on the test split: top-1 95.53 (STEP, arXiv 2505.11151). Not rerun here.
# Needs data/cifar10. 64 pictures on one GPU.
_base_ = ['spikingformer_4_384_cifar10.py']

model = dict(model_name='spikingformer_cifar')
