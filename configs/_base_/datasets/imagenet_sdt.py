"""ImageNet-1K with the augmentation of the Spike-driven Transformer: crops of a fifth of a picture at least,
RandAugment of level 5, every picture three times an epoch; tests crop 95 % of a side.

Its colour jitter is not listed: timm leaves it out where RandAugment is used.
"""

_base_ = ['mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py']

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.2, 1.0), backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=5,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
    ),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=235, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=48,
    num_workers=8,
    dataset=dict(pipeline=train_pipeline),
    sampler=dict(_delete_=True, type='RepeatAugSampler', shuffle=True),
)
val_dataloader = dict(batch_size=48, num_workers=8, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
