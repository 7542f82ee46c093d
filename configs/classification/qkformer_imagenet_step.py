# STEP's QKFormer with 384 channels on ImageNet-1K, by STEP's recipe.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/qkformer_imagenet_step.py --launcher pytorch --amp
# Expected: not published.
# Needs data/imagenet. 8 GPUs x 32 pictures.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/imagenet_step.py',
    '../_base_/schedules/spikingformer_310e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='qkformer_imagenet')
optim_wrapper = dict(optimizer=dict(lr=6e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6 / 6e-4, by_epoch=True, begin=0, end=6),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=0, end=300),
    dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=300, end=310),
]
auto_scale_lr = dict(base_batch_size=256)
