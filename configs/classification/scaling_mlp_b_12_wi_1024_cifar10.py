# Scaling-MLP of 12 blocks, 1024 wide, ImageNet-21k weights fine-tuned on CIFAR-10 at 64x64, as published.
#   python tools/train.py configs/classification/scaling_mlp_b_12_wi_1024_cifar10.py
# Expected on the test split: top-1 94.2 (Bachmann et al., Scaling MLPs, arXiv 2306.13575). Not rerun here.
# Needs data/cifar10 and the ImageNet-21k weights as
# checkpoints/scaling_mlp_b_12_wi_1024_in21k.pth (drive.google.com, id 1rcV8RXij_kW9X2zSLNyNOTO_bKUjE0cJ).
# 2048 pictures on one GPU.
_base_ = ['scaling_mlp_b_6_wi_512_cifar10.py']

model = dict(
    model_name='scaling_mlp_b_12_wi_1024.in21k',
    pretrained_cfg_overlay=dict(file='checkpoints/scaling_mlp_b_12_wi_1024_in21k.pth'),
)
