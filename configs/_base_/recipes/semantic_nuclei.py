"""Segmentation from scratch of the nuclei of data/nuclei, 1500 iterations of 8 crops; a config adds the model."""

_base_ = ['../datasets/nuclei_semantic.py', '../segmentation_schedule.py']
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
