# STEP's SWformer on CIFAR-100 at 32x32, as published.
#   python tools/train.py configs/classification/swformer_cifar100.py --amp
# Expected on the test split: top-1 76.99 (STEP, arXiv 2505.11151). Not rerun here.
# Needs data/cifar100, laid out as data/cifar10 is. 128 pictures on one GPU.
_base_ = ['swformer_4_384_cifar100.py']

model = dict(model_name='swformer_cifar100')
