# SpikingResformer-Ti* on CIFAR-10 at 32x32, as published.
#   python tools/train.py configs/classification/spikingresformer_ti_cifar10.py --amp
# Expected: published (Shi et al., arXiv 2403.14302), and not at hand.
# Needs data/cifar10. 128 pictures on one GPU.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/spiking_resformer_320e.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    model_name='spikingresformer_ti_cifar', num_classes=10, train_cfg=dict(augments=[dict(type='Mixup', alpha=0.5)])
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=1,
        magnitude_level=7,
        magnitude_std=0.5,
        hparams=dict(pad_val=[114, 123, 125], interpolation='bicubic'),
    ),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(num_workers=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=2e-2, by_epoch=True, begin=0, end=4),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=600),
]
train_cfg = dict(max_epochs=600)
auto_scale_lr = dict(base_batch_size=128)
