"""CIFAR-10 at 32x32 with the augmentation of Spikformer, Max-Former, SWformer and STEP, which crops nothing.

A flip, one of five operations half of the time, and erasing: their copy of timm's RandAugment leaves the other ten out.
"""

_base_ = ['cifar10.py']

bent = dict(pad_val=[114, 123, 125], interpolation='bicubic')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        num_policies=1,
        magnitude_level=9,
        magnitude_std=0.4,
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
        fill_color=[113.8575, 122.961, 125.307],
    ),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
data_preprocessor = dict(std=[62.985, 62.0925, 66.708])
train_dataloader = dict(batch_size=128, num_workers=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=128, num_workers=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
