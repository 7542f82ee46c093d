"""300 epochs of AdamW at a batch of 1024 (8 GPUs x 128): Swin's schedule, which other repositories took over.

The learning rate is 5e-4 for a batch of 512. As in Swin's code before October 2022 the cosine counts from the first
epoch and stands at 99 % when the warm-up of 20 epochs ends. The official runs were in float16 (`--amp`).
"""

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    # No decay of biases and of whatever has one axis.
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
# mmengine multiplies schedules that overlap.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-2, by_epoch=True, begin=0, end=300, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024)
