# GLNet-9G with a classifier of every position on ImageNet-1K, but from labels of whole pictures.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/glnet_9g_tklb_imagenet.py --launcher pytorch
# Expected: not published. The published top-1 of 85.3 (Zhu et al., GLMix, arXiv 2411.14429) is that of a training with
# token labels, maps of classes that another network gave, and with tokens of two pictures mixed behind the stem: this
# project has neither. Length, rates and the size of the pictures in validation are the published ones.
# Needs data/imagenet.
_base_ = ['glnet_9g_imagenet.py']

model = dict(model_name='glnet_9g_tklb', drop_path_rate=0.1)
max_epochs = 310
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=5, end=max_epochs, convert_to_iter_based=True),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=233, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
