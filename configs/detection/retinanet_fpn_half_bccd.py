# retinanet_fpn_bccd.py at half its sides, a quarter of its cost, and without its changes of colour: for comparing many
# backbones on a small machine.
#   python tools/train.py configs/detection/retinanet_fpn_half_bccd.py --backbone raft_mlp_s
# Expected after 12 of the 90 epochs: docs/training.md, "Backbones side by side".
_base_ = ['retinanet_fpn_bccd.py']

image_scale = (208, 156)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=image_scale, ratio_range=(0.8, 1.3), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(156, 208), allow_negative_crop=True),
    dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
model = dict(
    backbone=dict(img_size=(156, 208)),
    bbox_head=dict(anchor_generator=dict(octave_base_scale=1.5)),  # half of the sides
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
