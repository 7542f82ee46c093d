"""310 epochs of LAMB at a batch of 384 (8 GPUs x 48): the Spike-driven Transformer's on ImageNet, the last 10 at the
least rate.

The rate stays the same for an epoch, and the cosine counts from the first. The official runs were in float16 (`--amp`).
"""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Lamb', lr=1.5e-3, weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
# mmengine multiplies schedules that overlap; a warm-up by epoch has the full rate one epoch before its end.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-5 / 1.5e-3, by_epoch=True, begin=0, end=21),
    dict(type='CosineAnnealingLR', eta_min=1.5e-5, by_epoch=True, begin=0, end=300),
    dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=300, end=310),
]
train_cfg = dict(by_epoch=True, max_epochs=310, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=384)
