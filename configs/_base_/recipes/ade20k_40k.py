"""ADE20K, 40k iterations of AdamW, 8 GPUs x 4 pictures of 512x512."""

_base_ = ['mmseg::_base_/datasets/ade20k.py', '../segmentation_schedule.py']
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=1e-4))
param_scheduler = [dict(type='PolyLR', eta_min=0.0, power=0.9, begin=0, end=40000, by_epoch=False)]
auto_scale_lr = dict(base_batch_size=32)
