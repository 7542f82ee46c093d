"""The 3x schedule of Swin's own detectors: 36 epochs, the rate falls after 27 and 33, a warm-up of 500 iterations.

The official runs were in float16 (`--amp`).
"""

_base_ = ['swin_1x.py']
train_cfg = dict(max_epochs=36)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=36, by_epoch=True, milestones=[27, 33], gamma=0.1),
]
