"""Semantic FPN from scratch for the nuclei of data/nuclei, made for a CPU: pictures of 256x256, a narrow pyramid."""

_base_ = ['../models/fpn_timm.py', 'semantic_nuclei.py']
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(256, 256)),
    backbone=dict(img_size=256, drop_path_rate=0.1),
    neck=dict(out_channels=64, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=[64, 64, 64, 64], channels=64, num_classes=2, norm_cfg=norm_cfg),
)
