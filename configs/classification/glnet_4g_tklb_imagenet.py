# GLNet-4G with a classifier of every position on ImageNet-1K, but from labels of whole pictures.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/glnet_4g_tklb_imagenet.py --launcher pytorch --amp
# Expected: not published. The published top-1 of 84.4 (Zhu et al., GLMix, arXiv 2411.14429) is that of a training with
# token labels, maps of classes that another network gave, and with tokens of two pictures mixed behind the stem: this
# project has neither. Length, rates and the size of the pictures in validation are the published ones.
# Needs data/imagenet.
_base_ = ['glnet_4g_imagenet.py']

model = dict(model_name='glnet_4g_tklb', drop_path_rate=0.1)
max_epochs = 310
train_cfg = dict(max_epochs=max_epochs)
# mmengine multiplies schedules that overlap; a warm-up by epoch has the full rate one epoch before its end.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6 / 2e-3, by_epoch=True, begin=0, end=6),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=max_epochs),
]
custom_hooks = []  # no averaged weights
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=233, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
