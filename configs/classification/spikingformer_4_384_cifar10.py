# Spikingformer 4-384 on CIFAR-10 at 32x32, as published.
#   python tools/train.py configs/classification/spikingformer_4_384_cifar10.py --amp
# Expected on the test split: top-1 95.81 (Zhou et al., arXiv 2304.11954). Not rerun here.
# Needs data/cifar10. 64 pictures on one GPU.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/cifar10_32.py',
    '../_base_/schedules/step_410e.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    model_name='spikingformer_4_384_cifar',
    num_classes=10,
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.5)]),
)
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-5 / 5e-4, by_epoch=True, begin=0, end=21),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=400),
    dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=400, end=410),
]
auto_scale_lr = dict(base_batch_size=64)
