"""CIFAR-10 at 32x32, uncropped, as the Spike-driven Transformer reads it: a flip and one operation of RandAugment."""

_base_ = ['cifar10_32.py']

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
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
