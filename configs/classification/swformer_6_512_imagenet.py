# SWformer-6-512 on ImageNet-1K, by the published recipe.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/swformer_6_512_imagenet.py --launcher pytorch --amp
# Expected: not published.
# Needs data/imagenet. 8 GPUs x 64 pictures.
_base_ = ['swformer_8_512_imagenet.py']

model = dict(model_name='swformer_6_512')
optim_wrapper = dict(optimizer=dict(lr=1.2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 1200, by_epoch=True, begin=0, end=30),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=True, begin=0, end=300),
    dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=300, end=310),
]
