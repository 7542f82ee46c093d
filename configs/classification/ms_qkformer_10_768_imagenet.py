# MS-QKFormer-10-768 of one step on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/ms_qkformer_10_768_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 77.78 (Fang et al., arXiv 2505.18608). Not rerun here.
# Needs data/imagenet. 8 GPUs x 64 pictures.
_base_ = ['maxformer_10_384_t4_imagenet.py']

model = dict(
    model_name='ms_qkformer_10_768',
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
optim_wrapper = dict(optimizer=dict(lr=2.4e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=5, end=200, convert_to_iter_based=True),
]
