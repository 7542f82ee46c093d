"""ImageNet-1K at 64x64 as Scaling-MLP reads it: shrunk to 64 pixels on the longer side, then square crops of that."""

_base_ = ['mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py']

shrink = dict(type='ResizeEdge', scale=64, edge='long', interpolation='area')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    shrink,
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
    shrink,
    dict(type='EfficientNetCenterCrop', crop_size=64, crop_padding=0, interpolation='area'),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=2048, num_workers=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=2048, num_workers=16, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
