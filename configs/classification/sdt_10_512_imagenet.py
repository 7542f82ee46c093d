# Spike-driven Transformer 10-512 on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/sdt_10_512_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 74.66 (Yao et al., arXiv 2307.01694). Not rerun here.
# Needs data/imagenet. 8 GPUs x 36 pictures.
# Alone among its siblings it does not see every picture three times an epoch.
_base_ = ['sdt_8_384_imagenet.py']

model = dict(model_name='sdt_10_512', train_cfg=dict(probs=[0.375, 0.375]))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.2, 1.0), backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=7,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=36,
    dataset=dict(pipeline=train_pipeline),
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=True, begin=0, end=21),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=True, begin=0, end=300),
    dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=300, end=310),
]
auto_scale_lr = dict(base_batch_size=288)
