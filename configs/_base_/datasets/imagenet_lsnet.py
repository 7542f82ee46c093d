"""ImageNet-1K with the augmentation of DeiT: RandAugment, random erasing, every picture three times an epoch.

DeiT's colour jitter is not listed: timm leaves it out where RandAugment is used.
"""

_base_ = ['mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py']

train_dataloader = dict(
    batch_size=256, num_workers=10, sampler=dict(_delete_=True, type='RepeatAugSampler', shuffle=True)
)
val_dataloader = dict(batch_size=256, num_workers=10)
test_dataloader = val_dataloader
