# Mask R-CNN, from scratch, for the nuclei of data/nuclei at half of the recipe's sides, a quarter of its cost: for
# comparing many backbones on a small machine.
#   python tools/train.py configs/detection/mask_rcnn_fpn_half_nuclei.py --backbone raft_mlp_s
# Expected: not measured to the end.
_base_ = ['../_base_/recipes/mask-rcnn_nuclei.py']

image_scale = (320, 160)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomResize', scale=image_scale, ratio_range=(0.6, 1.4), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(128, 128), allow_negative_crop=True),
    dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
model = dict(
    backbone=dict(model_name='affnet_et', img_size=128),
    neck=dict(in_channels=[48, 64, 104, 144]),
    rpn_head=dict(anchor_generator=dict(scales=[1.5])),  # half of the sides
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
