"""Mask R-CNN on COCO, 8 GPUs x 2 pictures, from ImageNet weights; a config adds the backbone and a schedule."""

_base_ = [
    '../models/mask-rcnn_timm_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '../detection_runtime.py',
]
model = dict(backbone=dict(init_cfg=dict(type='Pretrained')))
