"""RetinaNet from scratch for the blood cells of BCCD, made for one CPU core: pictures of 416x312, narrow heads."""

_base_ = [
    '../models/retinanet_timm_fpn.py',
    '../datasets/bccd_detection.py',
    '../detection_runtime.py',
]
model = dict(
    data_preprocessor=dict(pad_size_divisor=1),
    # Backbones whose weights depend on the grid are made for that of this size.
    backbone=dict(img_size=(312, 416), drop_path_rate=0.1),
    neck=dict(_delete_=True, type='FPN', out_channels=96, num_outs=4, norm_cfg=dict(type='BN', requires_grad=True)),
    bbox_head=dict(
        num_classes=3,
        in_channels=96,
        feat_channels=96,
        stacked_convs=2,
        norm_cfg=dict(type='GN', num_groups=8, requires_grad=True),
        # Sides of the training boxes at 416x312, median and 5-95 %: platelets 25 (20-35), red cells 66 (54-78),
        # white cells 123 (76-156). Anchors: 24, 34, 48, 68, 96, 136, 192, 272.
        anchor_generator=dict(
            octave_base_scale=3, scales_per_octave=2, ratios=[0.65, 1.0, 1.55], strides=[8, 16, 32, 64]
        ),
        reg_decoded_bbox=True,
        loss_bbox=dict(_delete_=True, type='GIoULoss', loss_weight=2.0),
    ),
    test_cfg=dict(nms_pre=500, score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
)

max_epochs = 90
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
custom_hooks = [dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.004, gamma=200, update_buffers=True)]
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=5, max_keep_ckpts=2, save_best='coco/bbox_mAP', rule='greater'),
)
log_processor = dict(window_size=25)
auto_scale_lr = dict(base_batch_size=8)
