"""ImageNet-1K with the augmentation of RaftMLP: random crops of 224 out of 256, RandAugment, black rectangles.

Of its RandAugment the repository names only the package, so operations and strength here are timm's usual ones.
"""

_base_ = ['mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py']

resize = dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bilinear')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    resize,
    dict(type='RandomCrop', crop_size=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
    ),
    dict(type='RandomErasing', erase_prob=0.25, max_area_ratio=1 / 3, mode='const', fill_color=0),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    resize,
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=256, num_workers=10, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=256, num_workers=10, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
