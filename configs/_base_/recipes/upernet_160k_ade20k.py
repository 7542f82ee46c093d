"""UPerNet on ADE20K as Swin has it: 160k iterations, 8 GPUs x 2 pictures of 512x512, from ImageNet weights."""

_base_ = [
    '../models/upernet_timm.py',
    'mmseg::_base_/datasets/ade20k.py',
    '../segmentation_schedule.py',
]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(drop_path_rate=0.3, init_cfg=dict(type='Pretrained')),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150),
)
train_dataloader = dict(batch_size=2)
train_cfg = dict(max_iters=160000, val_interval=16000)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    # Norms and position biases of the backbone do not decay, norms of the heads do.
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys=dict(
            decode_head=dict(decay_mult=1.0),
            auxiliary_head=dict(decay_mult=1.0),
            relative_position_bias_table=dict(decay_mult=0.0),
        ),
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=1500, end=160000, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=16000))
auto_scale_lr = dict(base_batch_size=16)
