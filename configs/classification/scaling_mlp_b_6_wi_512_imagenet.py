# Scaling-MLP of 6 blocks, 512 wide, ImageNet-21k weights fine-tuned on ImageNet-1K at 64x64, as published.
#   python tools/train.py configs/classification/scaling_mlp_b_6_wi_512_imagenet.py
# Expected on the validation split: top-1 33.3 (Bachmann et al., Scaling MLPs, arXiv 2306.13575). Not rerun here.
# Needs data/imagenet and the ImageNet-21k weights as
# checkpoints/scaling_mlp_b_6_wi_512_in21k.pth (drive.google.com, id 1QV3a99UT8llfh9zDDuNKWDH_5c6S_YT5).
# 2048 pictures on one GPU. tools/test.py needs no such file with --cfg-options model.pretrained=False.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/imagenet_64.py',
    '../_base_/schedules/scaling_mlp_finetune_100e.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    model_name='scaling_mlp_b_6_wi_512.in21k',
    pretrained=True,
    pretrained_cfg_overlay=dict(file='checkpoints/scaling_mlp_b_6_wi_512_in21k.pth'),
    loss=dict(label_smooth_val=0.3),
    train_cfg=None,
)
