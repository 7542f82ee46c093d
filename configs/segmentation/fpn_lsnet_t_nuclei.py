# Semantic FPN on LSNet-T for the nuclei of data/nuclei, from scratch: a run that shows the way.
#   python tools/train.py configs/segmentation/fpn_lsnet_t_nuclei.py
# Expected: not measured to the end.
_base_ = [
    'mmseg::_base_/models/fpn_r50.py',
    '../_base_/datasets/nuclei_semantic.py',
    '../_base_/segmentation_schedule.py',
]

norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(256, 256)),
    pretrained=None,
    # The stem's map at stride 4 draws the borders; the stages follow at strides 8, 16 and 32 (and 64).
    backbone=dict(
        _delete_=True,
        type='TimmFeatures',
        model_name='lsnet_t',
        img_size=256,
        stem_feature=True,
        out_indices=(0, 1, 2, 3, 4),
        drop_path_rate=0.1,
    ),
    neck=dict(in_channels=[32, 64, 128, 256, 384], out_channels=64, num_outs=5, norm_cfg=norm_cfg),
    decode_head=dict(
        in_channels=[64, 64, 64, 64, 64],
        in_index=[0, 1, 2, 3, 4],
        feature_strides=[4, 8, 16, 32, 64],
        channels=64,
        num_classes=2,
        norm_cfg=norm_cfg,
    ),
)

max_iters = 1500
train_cfg = dict(max_iters=max_iters, val_interval=250)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=5e-4, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(_delete_=True, max_norm=5, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='PolyLR', eta_min=1e-6, power=0.9, begin=100, end=max_iters, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=250, max_keep_ckpts=2, save_best='mIoU', rule='greater'))
auto_scale_lr = dict(base_batch_size=8)
