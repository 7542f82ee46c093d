# STEP's SpikingResformer on CIFAR-10 at 32x32, as published.
#   python tools/train.py configs/classification/spikingresformer_cifar10.py --amp
# Expected on the test split: top-1 95.69 (STEP, arXiv 2505.11151). Not rerun here.
# Needs data/cifar10. 128 pictures on one GPU.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/cifar10_max_former.py',
    '../_base_/schedules/step_410e.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    model_name='spikingresformer_cifar', num_classes=10, train_cfg=dict(augments=[dict(type='Mixup', alpha=0.5)])
)
train_pipeline = _base_.train_pipeline
train_pipeline[2].magnitude_level = 7
train_pipeline[2].magnitude_std = 0.5
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=5e-4, weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=2e-2, by_epoch=True, begin=0, end=21),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=400),
    dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=400, end=410),
]
