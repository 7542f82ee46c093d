"""ImageNet-1K at 256x256 with the augmentation of SpaRTAN: torchvision's RandAugment, level 7 of 30, and erasing."""

_base_ = ['mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py']

always = dict(prob=1.0)
bent = dict(prob=1.0, interpolation='bilinear', pad_val=0)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=256, backend='pillow', interpolation='bilinear'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        num_policies=2,
        magnitude_level=7,
        total_level=30,
        policies=[
            dict(type='Rotate', magnitude_range=(0, 0), **bent),  # torchvision's Identity
            dict(type='Shear', magnitude_range=(0, 0.3), direction='horizontal', **bent),
            dict(type='Shear', magnitude_range=(0, 0.3), direction='vertical', **bent),
            dict(type='Translate', magnitude_range=(0, 150 / 331), direction='horizontal', **bent),
            dict(type='Translate', magnitude_range=(0, 150 / 331), direction='vertical', **bent),
            dict(type='Rotate', magnitude_range=(0, 30), **bent),
            dict(type='Brightness', magnitude_range=(0, 0.9), **always),
            dict(type='ColorTransform', magnitude_range=(0, 0.9), **always),
            dict(type='Contrast', magnitude_range=(0, 0.9), **always),
            dict(type='Sharpness', magnitude_range=(0, 0.9), **always),
            dict(type='Posterize', bits=7, **always),  # 8 - 4 * 7 / 30, rounded
            dict(type='Solarize', magnitude_range=(255, 0), **always),
            dict(type='AutoContrast', **always),
            dict(type='Equalize', **always),
        ],
    ),
    # filled with the mean, which is zero once the picture is normalised
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='const',
        min_area_ratio=0.02,
        max_area_ratio=0.33,
        aspect_range=(0.3, 3.3),
        fill_color=[103.53, 116.28, 123.675],
    ),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bilinear'),
    dict(type='CenterCrop', crop_size=256),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=512, num_workers=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=512, num_workers=8, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
