# UPerNet on Swin-B, ADE20K, 160k iterations, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/upernet_swin_base_160k_ade20k.py --launcher pytorch
# Expected on the validation split: mIoU 48.13, of one scale (Liu et al., Swin, arXiv 2103.14030). Not rerun here.
# Differs: timm rolls a map before it pads it to whole windows, the published code after; they agree where sides are
# multiples of 224 pixels.
# Needs data/ade and the ImageNet weights checkpoints/swin_base_patch4_window7_224.pth
# (github.com/SwinTransformer/storage, release v1.0.0).
_base_ = ['upernet_swin_tiny_160k_ade20k.py']

model = dict(
    backbone=dict(
        model_name='swin_base_patch4_window7_224',
        init_cfg=dict(checkpoint='checkpoints/swin_base_patch4_window7_224.pth'),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
