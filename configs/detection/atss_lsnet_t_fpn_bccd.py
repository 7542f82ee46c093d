# ATSS on LSNet-T for the blood cells of data/bccd, from scratch: one anchor a place, and a branch for the centre-ness.
#   python tools/train.py configs/detection/atss_lsnet_t_fpn_bccd.py
# Expected: not measured to the end.
_base_ = ['../_base_/recipes/retinanet_bccd.py']

model = dict(
    type='ATSS',
    backbone=dict(model_name='lsnet_t'),
    neck=dict(in_channels=[64, 128, 256, 384]),
    bbox_head=dict(
        _delete_=True,
        type='ATSSHead',
        num_classes=3,
        in_channels=96,
        feat_channels=96,
        stacked_convs=2,
        norm_cfg=dict(type='GN', num_groups=8, requires_grad=True),
        # Anchors: 32, 64, 128, 256 (sides of the boxes at 416x312: platelets 25, red cells 66, white cells 123).
        anchor_generator=dict(
            type='AnchorGenerator', octave_base_scale=4, scales_per_octave=1, ratios=[1.0], strides=[8, 16, 32, 64]
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[0.1, 0.1, 0.2, 0.2]),
        reg_decoded_bbox=True,
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
    ),
    train_cfg=dict(assigner=dict(_delete_=True, type='ATSSAssigner', topk=9)),
)
