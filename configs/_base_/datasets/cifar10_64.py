"""CIFAR-10 enlarged to 64x64 as Scaling-MLP reads it: square crops of two fifths of a picture at least."""

_base_ = ['cifar10.py']

data_preprocessor = dict(mean=[125.3069, 122.9504, 113.8655], std=[62.9932, 62.0887, 66.7048])
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCrop',
        scale=64,
        crop_ratio_range=(0.4, 1.0),
        aspect_ratio_range=(1.0, 1.0),
        interpolation='area',
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=64, interpolation='area'),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=2048, num_workers=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=2048, num_workers=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
