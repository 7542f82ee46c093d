"""12 epochs of AdamW, 8 GPUs x 2 pictures: the 1x schedule."""

_base_ = ['mmdet::_base_/schedules/schedule_1x.py']
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
)
