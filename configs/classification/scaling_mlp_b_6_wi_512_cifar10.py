# Scaling-MLP of 6 blocks, 512 wide, ImageNet-21k weights fine-tuned on CIFAR-10 at 64x64, as published.
#   python tools/train.py configs/classification/scaling_mlp_b_6_wi_512_cifar10.py
# Expected on the test split: top-1 88.5 (Bachmann et al., Scaling MLPs, arXiv 2306.13575). Not rerun here.
# Needs data/cifar10 and the ImageNet-21k weights as
# checkpoints/scaling_mlp_b_6_wi_512_in21k.pth (drive.google.com, id 1QV3a99UT8llfh9zDDuNKWDH_5c6S_YT5).
# 2048 pictures on one GPU.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/cifar10_64.py',
    '../_base_/schedules/scaling_mlp_finetune_100e.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    model_name='scaling_mlp_b_6_wi_512.in21k',
    num_classes=10,
    pretrained=True,
    pretrained_cfg_overlay=dict(file='checkpoints/scaling_mlp_b_6_wi_512_in21k.pth'),
    loss=dict(label_smooth_val=0.3),
    train_cfg=None,
)
