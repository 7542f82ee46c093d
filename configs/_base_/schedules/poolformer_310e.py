"""310 epochs of AdamW at a batch of 1024 (8 GPUs x 128): PoolFormer's schedule, by the defaults of its training script.

The last 10 epochs have the least rate. The rate stays the same for an epoch, and the cosine counts from the first. No
gradient is clipped. The official runs were in float16 (`--amp`).
"""

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    # No decay of biases and of whatever has one axis, the scales of the branches among it.
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
# mmengine multiplies schedules that overlap; a warm-up by epoch has the full rate one epoch before its end.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6 / 1e-3, by_epoch=True, begin=0, end=6),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=300),
    dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=300, end=310),
]
train_cfg = dict(by_epoch=True, max_epochs=310, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024)
