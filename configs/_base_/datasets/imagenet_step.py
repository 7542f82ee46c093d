"""ImageNet-1K with the augmentation of STEP: Spikformer's, but with five of the operations of timm's RandAugment, as
for CIFAR."""

_base_ = ['imagenet_spikformer.py']

bent = dict(pad_val=[104, 116, 124], interpolation='bicubic')
train_pipeline = _base_.train_pipeline
train_pipeline[3] = dict(
    type='RandAugment',
    num_policies=2,
    magnitude_level=9,
    magnitude_std=0.5,
    policies=[
        dict(type='Equalize'),
        dict(type='Rotate', magnitude_range=(0, 30), **bent),
        dict(type='Shear', magnitude_range=(0, 0.3), direction='horizontal', **bent),
        dict(type='Translate', magnitude_range=(0, 0.45), direction='horizontal', **bent),
        dict(type='Translate', magnitude_range=(0, 0.45), direction='vertical', **bent),
    ],
)
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=32)
test_dataloader = val_dataloader
