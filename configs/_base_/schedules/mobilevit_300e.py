"""300 epochs of AdamW at a batch of 1024 (8 GPUs x 128): MobileViT's, which AFFNet's repository starts from.

Every weight decays. The official runs were in float16 (`--amp`).
"""

optim_wrapper = dict(optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=3000),
    dict(type='CosineAnnealingLR', eta_min=2e-4, by_epoch=True, begin=0, end=300, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()
custom_hooks = [
    dict(type='ClassifierEMAHook', momentum=5e-4, update_buffers=True, priority='ABOVE_NORMAL'),  # statistics too
]
auto_scale_lr = dict(base_batch_size=1024)
