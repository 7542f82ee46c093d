# Spikformer-4-384 on CIFAR-10 at 32x32, as published.
#   python tools/train.py configs/classification/spikformer_4_384_cifar10.py --amp
# Expected on the test split: top-1 95.51 (Zhou et al., Spikformer, arXiv 2209.15425). Not rerun here.
# Needs data/cifar10. 128 pictures on one GPU. The augmentation is that of Max-Former, which took Spikformer's.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/cifar10_max_former.py',
    '../_base_/schedules/spikformer_310e.py',
    '../_base_/classification_runtime.py',
]

# mixed up to epoch 200
model = dict(
    model_name='spikformer_4_384_cifar', num_classes=10, train_cfg=dict(augments=[dict(type='Mixup', alpha=0.5)])
)
optim_wrapper = dict(optimizer=dict(weight_decay=0.06))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=True, begin=0, end=21),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=300),
    dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=300, end=310),
]
# mmpretrain counts this epoch from 1.
custom_hooks = [dict(type='SwitchRecipeHook', schedule=[dict(action_epoch=201, batch_augments=None)])]
auto_scale_lr = dict(base_batch_size=128)
