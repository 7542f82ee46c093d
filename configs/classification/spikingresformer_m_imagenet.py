# SpikingResformer-M on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/spikingresformer_m_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 77.24 (Shi et al., arXiv 2403.14302, as recalled). Not rerun here.
# Needs data/imagenet. 8 GPUs x 28 pictures.
_base_ = ['spikingresformer_ti_imagenet.py']

model = dict(model_name='spikingresformer_m')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=28, dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=8e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 80, by_epoch=True, begin=0, end=4),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=320),
]
auto_scale_lr = dict(base_batch_size=224)
