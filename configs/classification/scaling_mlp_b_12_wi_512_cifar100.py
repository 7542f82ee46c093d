# Scaling-MLP of 12 blocks, 512 wide, ImageNet-21k weights fine-tuned on CIFAR-100 at 64x64, as published.
#   python tools/train.py configs/classification/scaling_mlp_b_12_wi_512_cifar100.py
# Expected on the test split: top-1 75.1 (Bachmann et al., Scaling MLPs, arXiv 2306.13575). Not rerun here.
# The mean and deviation are those of CIFAR-10, as published.
# Needs data/cifar100, laid out as data/cifar10 is, and the ImageNet-21k weights as
# checkpoints/scaling_mlp_b_12_wi_512_in21k.pth (drive.google.com, id 1sL9j_4FFeBTWTzuRFbHLfwrmPVLXhUtW).
# 2048 pictures on one GPU.
_base_ = ['scaling_mlp_b_6_wi_512_cifar100.py']

model = dict(
    model_name='scaling_mlp_b_12_wi_512.in21k',
    pretrained_cfg_overlay=dict(file='checkpoints/scaling_mlp_b_12_wi_512_in21k.pth'),
)
