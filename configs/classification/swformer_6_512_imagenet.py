# SWformer-6-512 on ImageNet-1K, as published: every batch is mixed, and the pictures are changed more than for 8-512.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/swformer_6_512_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 74.98 (the name of the published weights, github.com/bic-L/
# Spiking-Wavelet-Transformer). Not rerun here.
# Needs data/imagenet. 8 GPUs x 64 pictures.
_base_ = ['swformer_8_512_imagenet.py']

model = dict(model_name='swformer_6_512', train_cfg=dict(probs=[0.5, 0.5]))
train_pipeline = _base_.train_pipeline
train_pipeline[1].crop_ratio_range = (0.08, 1.0)
train_pipeline[3].magnitude_level = 7
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=1.2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 1200, by_epoch=True, begin=0, end=31),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=True, begin=0, end=300),
    dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=300, end=310),
]
