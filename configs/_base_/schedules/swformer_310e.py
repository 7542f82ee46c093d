"""310 epochs of LAMB at a batch of 512 (8 GPUs x 64): SWformer's schedule on ImageNet, the last 10 at the least rate.

The rate stays the same for an epoch, and the cosine counts from the first. The official runs were in float16 (`--amp`).
"""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Lamb', lr=1e-3, weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
# mmengine multiplies schedules that overlap; a warm-up by epoch has the full rate one epoch before its end.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=31),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=True, begin=0, end=300),
    dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=300, end=310),
]
train_cfg = dict(by_epoch=True, max_epochs=310, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=512)
