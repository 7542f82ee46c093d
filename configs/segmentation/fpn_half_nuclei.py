# Semantic FPN, from scratch, for the nuclei of data/nuclei at half of the recipe's sides, a quarter of its cost, and
# without its changes of colour: for comparing many backbones on a small machine.
#   python tools/train.py configs/segmentation/fpn_half_nuclei.py --backbone svt_s
# Expected after 400 of the 1500 iterations: docs/training.md, "Backbones side by side".
_base_ = ['fpn_affnet_et_nuclei.py']

image_scale = (320, 160)
crop_size = (128, 128)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=image_scale, ratio_range=(0.6, 1.4), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=[0.25, 0.25], direction=['horizontal', 'vertical']),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
model = dict(data_preprocessor=dict(size=crop_size), backbone=dict(img_size=128))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
