# A narrow Max-Former of two time steps on CIFAR-10 at 32x32, from scratch: a short run that shows the way.
#   python tools/train.py configs/classification/max_former_cifar10_short.py  # long
# Expected on the test split: top-1 60.95 after three epochs (docs/spiking.md).
# Needs data/cifar10.
_base_ = ['max_former_cifar10.py']

model = dict(dims=[24, 48, 96], num_heads=4, num_steps=2, train_cfg=None)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=64, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1)
test_dataloader = val_dataloader

max_epochs = 3
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=64)
custom_hooks = [dict(type='ChannelsLastHook')]
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(max_keep_ckpts=2, save_best='accuracy/top1', rule='greater')
)
