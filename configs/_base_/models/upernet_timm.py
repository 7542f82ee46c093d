"""mmseg's UPerNet on a backbone of timm; a config names the backbone and the heads' `in_channels`."""

_base_ = ['mmseg::_base_/models/upernet_swin.py']
model = dict(backbone=dict(_delete_=True, type='TimmFeatures'))
