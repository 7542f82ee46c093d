"""200 epochs of AdamW at a batch of 512 (8 GPUs x 64): Max-Former's schedule on ImageNet.

The learning rate is 1.35e-3 for a batch of 256 and four steps, 1.2e-3 for one step. The cosine starts behind the
warm-up. What has one axis does not decay, and no gradient is clipped. The official runs were in float16 (`--amp`).
"""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2.7e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=2.5e-6, by_epoch=True, begin=5, end=200, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=512)
