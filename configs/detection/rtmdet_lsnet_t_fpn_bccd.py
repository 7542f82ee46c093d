# RTMDet's head on LSNet-T for the blood cells of data/bccd, from scratch: points, and labels as soft as the boxes fit.
#   python tools/train.py configs/detection/rtmdet_lsnet_t_fpn_bccd.py
# Expected: not measured to the end.
_base_ = ['../_base_/recipes/retinanet_bccd.py']

model = dict(
    type='RTMDet',
    backbone=dict(model_name='lsnet_t'),
    neck=dict(in_channels=[64, 128, 256, 384]),
    bbox_head=dict(
        _delete_=True,
        type='RTMDetSepBNHead',
        num_classes=3,
        in_channels=96,
        feat_channels=96,
        stacked_convs=2,
        anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=[8, 16, 32, 64]),
        bbox_coder=dict(type='DistancePointBBoxCoder'),
        with_objectness=False,
        exp_on_reg=True,
        share_conv=True,
        pred_kernel_size=1,
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='SiLU', inplace=True),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
    ),
    train_cfg=dict(assigner=dict(_delete_=True, type='DynamicSoftLabelAssigner', topk=13)),
    test_cfg=dict(nms=dict(type='nms', iou_threshold=0.65)),
)
# the head's convolutions are shared between levels: each is a parameter once
optim_wrapper = dict(paramwise_cfg=dict(bypass_duplicate=True))
