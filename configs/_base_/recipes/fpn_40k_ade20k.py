"""Semantic FPN on ADE20K from ImageNet weights."""

_base_ = ['../models/fpn_timm.py', 'ade20k_40k.py']
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(init_cfg=dict(type='Pretrained')),
    decode_head=dict(num_classes=150),
)
