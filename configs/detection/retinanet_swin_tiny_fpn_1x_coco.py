# RetinaNet on Swin-T, COCO, 1x, as mmdetection has it.
#   torchrun --nproc-per-node 8 tools/train.py configs/detection/retinanet_swin_tiny_fpn_1x_coco.py --launcher pytorch
# Expected: not in the paper, mmdetection lists its own number. Not rerun here.
# Differs: timm rolls a map before it pads it to whole windows, the published code after; they agree where sides are
# multiples of 224 pixels.
# Needs data/coco and the ImageNet weights checkpoints/swin_tiny_patch4_window7_224.pth
# (github.com/SwinTransformer/storage, release v1.0.0).
_base_ = [
    '../_base_/recipes/retinanet_coco.py',
    'mmdet::_base_/schedules/schedule_1x.py',
]

model = dict(
    backbone=dict(
        model_name='swin_tiny_patch4_window7_224',
        always_partition=True,  # as the detectors have it: the last stage shifts its windows too
        out_norm='layer',
        out_indices=(1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='checkpoints/swin_tiny_patch4_window7_224.pth'),
    ),
    neck=dict(in_channels=[192, 384, 768], start_level=0),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
