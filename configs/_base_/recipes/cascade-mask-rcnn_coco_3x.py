"""Cascade Mask R-CNN on COCO, 3x with pictures of many sizes, 8 GPUs x 2 pictures, from ImageNet weights."""

_base_ = [
    '../models/cascade-mask-rcnn_timm_fpn.py',
    '../datasets/coco_ms_crop.py',
    '../schedules/swin_3x.py',
    '../detection_runtime.py',
]
model = dict(backbone=dict(init_cfg=dict(type='Pretrained')))
