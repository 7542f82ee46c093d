# Max-ResNet-18 on CIFAR-10 at 32x32, as published.
#   python tools/train.py configs/classification/max_resnet18_cifar10.py --amp
# Expected on the test split: top-1 97.17 (Fang et al., arXiv 2505.18608). Not rerun here.
# Needs data/cifar10. 128 pictures on one GPU.
_base_ = ['max_former_cifar10.py']

model = dict(model_name='max_resnet18')
