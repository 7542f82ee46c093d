"""300 epochs of AdamW at a batch of 2048 (8 GPUs x 256): GLNet's schedule, after ConvNeXt V2 and UniFormer.

The cosine starts behind the warm-up. What decays is as in the published grouping: neither biases nor whatever has one
axis, but the scale of the slots, which has none. The official runs were in float16 (`--amp`).
"""

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=5, end=300, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()
custom_hooks = [
    dict(type='ClassifierEMAHook', momentum=1e-4, update_buffers=True, priority='ABOVE_NORMAL'),  # statistics too
]
auto_scale_lr = dict(base_batch_size=2048)
