"""410 epochs of AdamW at a batch of 128 on one GPU: Max-Former's schedule on CIFAR-10, the last 10 at the least rate.

The rate stays the same for an epoch, and the cosine counts from the first. From epoch 200 on pictures are not mixed.
The official runs were in float16 (`--amp`).
"""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1.5e-3, weight_decay=0.06),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
# mmengine multiplies schedules that overlap; a warm-up by epoch has the full rate one epoch before its end.
param_scheduler = [
    dict(type='LinearLR', start_factor=8e-5 / 1.5e-3, by_epoch=True, begin=0, end=21),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=400),
    dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=400, end=410),
]
train_cfg = dict(by_epoch=True, max_epochs=410, val_interval=1)
val_cfg = dict()
test_cfg = dict()
# mmpretrain counts this epoch from 1.
custom_hooks = [dict(type='SwitchRecipeHook', schedule=[dict(action_epoch=201, batch_augments=None)])]
auto_scale_lr = dict(base_batch_size=128)
