# RaftMLP's small model on CIFAR-10 at 32x32, as published.
#   python tools/train.py configs/classification/raft_mlp_cifar10.py
# Expected: not published.
# Needs data/cifar10. 512 pictures on one GPU.
# Differs: the official code mixes each batch by Mixup and then by CutMix, both at alpha 0.8, and its RandAugment
# package has other operations; mmpretrain has one of the two per batch.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/raft_mlp_305e.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    model_name='raft_mlp_cifar10',
    num_classes=10,
    drop_path_rate=0.1,
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=0.8)]),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[114, 123, 125], interpolation='bicubic'),
    ),
    dict(type='RandomErasing', erase_prob=0.25, max_area_ratio=1 / 3, mode='const', fill_color=0),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(batch_size=512, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=4, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=4, end=24, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=24)
auto_scale_lr = dict(base_batch_size=512)
