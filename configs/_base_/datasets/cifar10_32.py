"""CIFAR-10 at 32x32, uncropped: a flip, one of timm's operations of RandAugment, and erasing."""

_base_ = ['cifar10.py']

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=1,
        magnitude_level=9,
        magnitude_std=0.4,
        hparams=dict(pad_val=[114, 123, 125], interpolation='bicubic'),
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
