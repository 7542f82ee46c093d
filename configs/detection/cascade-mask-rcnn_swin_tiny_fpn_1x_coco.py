# Cascade Mask R-CNN on Swin-T, COCO, 1x with pictures of many sizes, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/detection/cascade-mask-rcnn_swin_tiny_fpn_1x_coco.py --launcher pytorch --amp
# Expected on val2017: box AP 48.1, mask AP 41.7 (github.com/SwinTransformer/Swin-Transformer-Object-Detection). Not
# rerun here.
# Differs: timm rolls a map before it pads it to whole windows, the published code after; they agree where sides are
# multiples of 224 pixels.
# Needs data/coco and the ImageNet weights checkpoints/swin_tiny_patch4_window7_224.pth
# (github.com/SwinTransformer/storage, release v1.0.0).
_base_ = ['cascade-mask-rcnn_swin_tiny_fpn_3x_coco.py']

model = dict(backbone=dict(drop_path_rate=0.0))
train_cfg = dict(max_epochs=12)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
