# STEP's SWformer on CIFAR-10 at 32x32, as published.
#   python tools/train.py configs/classification/swformer_cifar10.py --amp
# Expected on the test split: top-1 95.31 (STEP, arXiv 2505.11151). Not rerun here.
# Needs data/cifar10. 128 pictures on one GPU.
_base_ = ['swformer_4_384_cifar10.py']

model = dict(model_name='swformer_cifar')
