# SGLFormer-4-384 on CIFAR-10 at 32x32, as published.
#   python tools/train.py configs/classification/sglformer_4_384_cifar10.py --amp
# Expected on the test split: top-1 96.76 (Zhang et al., SGLFormer, doi 10.3389/fnins.2024.1371290). Not rerun here.
# Needs data/cifar10. 64 pictures on one GPU.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/cifar10_32.py',
    '../_base_/schedules/step_410e.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    model_name='sglformer_4_384_cifar',
    num_classes=10,
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.5)]),
)
train_dataloader = dict(batch_size=64)
auto_scale_lr = dict(base_batch_size=64)
