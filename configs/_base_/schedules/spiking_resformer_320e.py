"""320 epochs of AdamW at a batch of 256 (8 GPUs x 32): SpikingResformer's schedule on ImageNet.

The rate stays the same for an epoch, and the cosine counts from the first. The official runs were in float16 (`--amp`).
"""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
# mmengine multiplies schedules that overlap; a warm-up by epoch has the full rate one epoch before its end.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=True, begin=0, end=4),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=320),
]
train_cfg = dict(by_epoch=True, max_epochs=320, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=256)
