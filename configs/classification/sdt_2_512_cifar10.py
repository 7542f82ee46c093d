# Spike-driven Transformer 2-512 on CIFAR-10 at 32x32, as published, in float32.
#   python tools/train.py configs/classification/sdt_2_512_cifar10.py
# Expected on the test split: top-1 95.6 (Yao et al., arXiv 2307.01694). Not rerun here.
# Needs data/cifar10. 64 pictures on one GPU.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/cifar10_sdt.py',
    '../_base_/schedules/step_410e.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    model_name='sdt_2_512_cifar',
    num_classes=10,
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.5)]),
)
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6 / 3e-4, by_epoch=True, begin=0, end=21),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=300),
    dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=300, end=310),
]
train_cfg = dict(max_epochs=310)
auto_scale_lr = dict(base_batch_size=64)
