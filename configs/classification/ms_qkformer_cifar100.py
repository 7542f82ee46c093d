# MS-QKFormer on CIFAR-100 at 32x32, as published.
#   python tools/train.py configs/classification/ms_qkformer_cifar100.py --amp
# Expected on the test split: top-1 81.57 (Fang et al., arXiv 2505.18608). Not rerun here.
# Needs data/cifar100, laid out as data/cifar10 is. 64 pictures on one GPU.
_base_ = ['max_former_cifar100.py']

model = dict(model_name='ms_qkformer_cifar100')
