"""mmseg's Semantic FPN on a backbone of timm; a config names the backbone and the neck's `in_channels`."""

_base_ = ['mmseg::_base_/models/fpn_r50.py']
model = dict(pretrained=None, backbone=dict(_delete_=True, type='TimmFeatures'))
