"""The 1x schedule of Swin in mmdetection: a longer warm-up, no decay of the backbone's norms and position biases."""

_base_ = ['adamw_1x.py']
optim_wrapper = dict(
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys=dict(
            roi_head=dict(decay_mult=1.0),  # with its norms
            relative_position_bias_table=dict(decay_mult=0.0),  # others have none of that name
        ),
    )
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
