# Mask R-CNN on Swin-S, COCO, 3x with pictures of many sizes, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/detection/mask-rcnn_swin_small_fpn_3x_coco.py --launcher pytorch --amp
# Expected on val2017: box AP 48.5, mask AP 43.3 (Liu et al., Swin, arXiv 2103.14030). Not rerun here.
# Differs: timm rolls a map before it pads it to whole windows, the published code after; they agree where sides are
# multiples of 224 pixels.
# Needs data/coco and the ImageNet weights checkpoints/swin_small_patch4_window7_224.pth
# (github.com/SwinTransformer/storage, release v1.0.0).
_base_ = ['mask-rcnn_swin_tiny_fpn_3x_coco.py']

model = dict(
    backbone=dict(
        model_name='swin_small_patch4_window7_224',
        init_cfg=dict(checkpoint='checkpoints/swin_small_patch4_window7_224.pth'),
    ),
)
