"""mmdet's Mask R-CNN on a backbone of timm; a config names the backbone and the neck's `in_channels`."""

_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py']
model = dict(backbone=dict(_delete_=True, type='TimmFeatures'))
