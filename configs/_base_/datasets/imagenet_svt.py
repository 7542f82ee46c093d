"""ImageNet-1K with the augmentation of SVT: RandAugment, random erasing, every picture three times an epoch; tests crop
96 % of a side.

Its colour jitter is not listed: timm leaves it out where RandAugment is used.
"""

_base_ = ['mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py']

test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=233, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=128, num_workers=10, sampler=dict(_delete_=True, type='RepeatAugSampler', shuffle=True)
)
val_dataloader = dict(batch_size=128, num_workers=10, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
