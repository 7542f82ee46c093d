# MS-QKFormer on CIFAR-10 at 32x32, as published.
#   python tools/train.py configs/classification/ms_qkformer_cifar10.py --amp
# Expected on the test split: top-1 96.84 (Fang et al., arXiv 2505.18608). Not rerun here.
# Needs data/cifar10. 128 pictures on one GPU.
_base_ = ['max_former_cifar10.py']

model = dict(model_name='ms_qkformer_cifar')
