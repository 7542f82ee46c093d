"""mmseg's DeepLabv3 on a backbone of timm; a config names the backbone and the heads' `in_channels`."""

_base_ = ['mmseg::_base_/models/deeplabv3_r50-d8.py']
model = dict(pretrained=None, backbone=dict(_delete_=True, type='TimmFeatures'))
