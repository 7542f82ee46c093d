# SpikingResformer-S on CIFAR-10 at 128x128, from ImageNet weights, as published.
#   python tools/train.py configs/classification/spikingresformer_s_cifar10.py --amp
# Expected: published (Shi et al., arXiv 2403.14302), and not at hand.
# Needs data/cifar10 and the ImageNet weights as checkpoints/spikingresformer_s.pth (drive.google.com, folder
# 1sAFHKF9QZC2P0aSoC9bdLqgW8TfLjFSC). 128 pictures on one GPU.
_base_ = ['spikingresformer_ti_cifar10.py']

model = dict(
    model_name='spikingresformer_s',
    img_size=128,
    pretrained=True,
    pretrained_cfg_overlay=dict(file='checkpoints/spikingresformer_s.pth'),
)
enlarge = dict(type='Resize', scale=128, backend='pillow', interpolation='bicubic')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    enlarge,
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
test_pipeline = [dict(type='LoadImageFromFile'), enlarge, dict(type='PackInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-4))
max_epochs = 100
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=4),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=max_epochs),
]
train_cfg = dict(max_epochs=max_epochs)
