# UPerNet on Swin-T, ADE20K, 160k iterations, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/upernet_swin_tiny_160k_ade20k.py --launcher pytorch
# Expected on the validation split: mIoU 44.51, of one scale (Liu et al., Swin, arXiv 2103.14030). Not rerun here.
# Differs: timm rolls a map before it pads it to whole windows, the published code after; they agree where sides are
# multiples of 224 pixels.
# Needs data/ade and the ImageNet weights checkpoints/swin_tiny_patch4_window7_224.pth
# (github.com/SwinTransformer/storage, release v1.0.0).
_base_ = ['../_base_/recipes/upernet_160k_ade20k.py']

model = dict(
    backbone=dict(
        model_name='swin_tiny_patch4_window7_224',
        always_partition=True,  # as the detectors have it: the last stage shifts its windows too
        out_norm='layer',
        init_cfg=dict(checkpoint='checkpoints/swin_tiny_patch4_window7_224.pth'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
