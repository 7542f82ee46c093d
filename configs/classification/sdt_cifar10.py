# STEP's Spike-driven Transformer 2-512 on CIFAR-10 at 32x32, as published, in float32.
#   python tools/train.py configs/classification/sdt_cifar10.py
# Expected on the test split: top-1 95.79 (STEP, arXiv 2505.11151). Not rerun here.
# Needs data/cifar10. 128 pictures on one GPU.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/cifar10_max_former.py',
    '../_base_/schedules/step_410e.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    model_name='sdt_cifar',
    num_classes=10,
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.5)]),
)
train_pipeline = _base_.train_pipeline
del train_pipeline[3]  # no erasing
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6 / 3e-4, by_epoch=True, begin=0, end=21),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=400),
    dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=400, end=410),
]
