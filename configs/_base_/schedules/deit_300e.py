"""300 epochs of AdamW at a batch of 2048 (8 GPUs x 256), after DeiT: the schedule of LSNet's classifiers.

The learning rate is 1e-3 for a batch of 512; gradients are clipped by the norm of their own weights. The rate stays the
same for an epoch, and the cosine counts from the first; the official script steps one epoch late, so that its first two
share theirs.
"""

optim_wrapper = dict(
    type='AdaptiveClipOptimWrapper',
    clip_factor=0.02,
    optimizer=dict(type='AdamW', lr=4e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.025),
    paramwise_cfg=dict(
        norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys=dict(attention_biases=dict(decay_mult=0.0))
    ),
)
# mmengine multiplies schedules that overlap; a warm-up by epoch has the full rate one epoch before its end.
param_scheduler = [
    dict(type='LinearLR', start_factor=2.5e-4, by_epoch=True, begin=0, end=6),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=300),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()
custom_hooks = [
    dict(type='ClassifierEMAHook', momentum=4e-5, update_buffers=True, priority='ABOVE_NORMAL'),  # statistics too
]
auto_scale_lr = dict(base_batch_size=2048)
