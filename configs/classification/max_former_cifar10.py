# Max-Former on CIFAR-10 at 32x32, as published.
#   python tools/train.py configs/classification/max_former_cifar10.py --amp
# Expected on the test split: top-1 97.04 (Fang et al., arXiv 2505.18608). Not rerun here.
# Needs data/cifar10. 128 pictures on one GPU.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/cifar10_max_former.py',
    '../_base_/schedules/max_former_410e.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    model_name='max_former_cifar',
    num_classes=10,
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.5), dict(type='CutMix', alpha=0.5)]),
)
