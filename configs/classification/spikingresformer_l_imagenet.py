# SpikingResformer-L on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/spikingresformer_l_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 78.77 (Shi et al., arXiv 2403.14302). Not rerun here.
# Needs data/imagenet. 8 GPUs x 16 pictures, which share their batch statistics.
_base_ = ['spikingresformer_ti_imagenet.py']

model = dict(model_name='spikingresformer_l')
sync_bn = 'torch'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=3,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=2e-2, by_epoch=True, begin=0, end=4),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=320),
]
auto_scale_lr = dict(base_batch_size=128)
