"""ImageNet-1K with the augmentation of STEP: Spikformer's, but with five of the operations of timm's RandAugment, as
for CIFAR; tests crop a whole side."""

_base_ = ['mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py']

bent = dict(pad_val=[104, 116, 124], interpolation='bicubic')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(1.0, 1.0), backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        num_policies=2,
        magnitude_level=9,
        magnitude_std=0.5,
        policies=[
            dict(type='Equalize'),
            dict(type='Rotate', magnitude_range=(0, 30), **bent),
            dict(type='Shear', magnitude_range=(0, 0.3), direction='horizontal', **bent),
            dict(type='Translate', magnitude_range=(0, 0.45), direction='horizontal', **bent),
            dict(type='Translate', magnitude_range=(0, 0.45), direction='vertical', **bent),
        ],
    ),
    # filled with the mean, which is zero once the picture is normalised
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='const',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=[103.53, 116.28, 123.675],
    ),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=224, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=32, num_workers=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=32, num_workers=8, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
