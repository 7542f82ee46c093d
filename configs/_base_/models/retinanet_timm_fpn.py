"""mmdet's RetinaNet on a backbone of timm; a config names the backbone and the neck's `in_channels`.

The pyramid begins at the second of four levels, stride 8.
"""

_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py']
model = dict(backbone=dict(_delete_=True, type='TimmFeatures'))
