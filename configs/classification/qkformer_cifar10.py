# QKFormer on CIFAR-10 at 32x32, as STEP trained it.
#   python tools/train.py configs/classification/qkformer_cifar10.py --amp
# Expected on the test split: top-1 96.24 (STEP, arXiv 2505.11151), by its authors 96.18. Not rerun here.
# Needs data/cifar10. 128 pictures on one GPU.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/cifar10_max_former.py',
    '../_base_/schedules/step_410e.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    model_name='qkformer_cifar',
    num_classes=10,
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.5)]),
)
