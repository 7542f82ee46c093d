"""Semantic FPN on ADE20K, 40k iterations of AdamW, 8 GPUs x 4 pictures of 512x512, from ImageNet weights."""

_base_ = [
    '../models/fpn_timm.py',
    'mmseg::_base_/datasets/ade20k.py',
    '../segmentation_schedule.py',
]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(init_cfg=dict(type='Pretrained')),
    decode_head=dict(num_classes=150),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=1e-4))
param_scheduler = [dict(type='PolyLR', eta_min=0.0, power=0.9, begin=0, end=40000, by_epoch=False)]
