# FCOS on LSNet-T for the blood cells of data/bccd, from scratch: no anchors, and a branch for the centre-ness.
#   python tools/train.py configs/detection/fcos_lsnet_t_fpn_bccd.py
# Expected: not measured to the end.
_base_ = ['../_base_/recipes/retinanet_bccd.py']

model = dict(
    type='FCOS',
    backbone=dict(model_name='lsnet_t'),
    neck=dict(in_channels=[64, 128, 256, 384]),
    bbox_head=dict(
        _delete_=True,
        type='FCOSHead',
        num_classes=3,
        in_channels=96,
        feat_channels=96,
        stacked_convs=2,
        strides=[8, 16, 32, 64],
        # Farthest side of a box, in pixels, by level: platelets 25 pixels wide, red cells 66, white cells 123.
        regress_ranges=((-1, 32), (32, 64), (64, 128), (128, 1e8)),
        norm_cfg=dict(type='GN', num_groups=8, requires_grad=True),
        norm_on_bbox=True,
        center_sampling=True,
        centerness_on_reg=True,
        loss_bbox=dict(type='GIoULoss', loss_weight=1.0),
    ),
    train_cfg=None,
)
