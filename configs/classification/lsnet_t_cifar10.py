# LSNet-T on CIFAR-10 at 64x64, from scratch: a short run that shows the way.
#   python tools/train.py configs/classification/lsnet_t_cifar10.py
# Expected: not measured to the end; a shorter run gave top-1 65.92 after seven epochs
# (docs/benchmarks.md, 8-bit integers).
# Needs data/cifar10.
_base_ = ['../_base_/datasets/cifar10.py', '../_base_/classification_runtime.py']

model = dict(
    type='TimmClassifier',
    model_name='lsnet_t',
    img_size=64,
    num_classes=10,
    drop_path_rate=0.05,
    loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
)

max_epochs = 30
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=2, end=max_epochs, convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='accuracy/top1', rule='greater'))
auto_scale_lr = dict(base_batch_size=128)
