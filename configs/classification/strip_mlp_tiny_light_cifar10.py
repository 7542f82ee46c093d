# Strip-MLP-T* on CIFAR-10 at 224x224, from scratch, as published, in float32.
#   python tools/train.py configs/classification/strip_mlp_tiny_light_cifar10.py
# Expected: published (Cao et al., Strip-MLP, arXiv 2307.11458), and not at hand.
# Needs data/cifar10. 64 pictures on one GPU, the repository's
# batch where no other is named.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/cifar10_224.py',
    '../_base_/schedules/swin_300e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='strip_mlp_tiny_light', num_classes=10, drop_path_rate=0.1)
optim_wrapper = dict(
    optimizer=dict(lr=5e-4 * 64 / 300),
    # Of four axes in the official code, so they decay there.
    paramwise_cfg=dict(custom_keys={'mlp.gamma': dict(decay_mult=1.0), 'mlp.beta': dict(decay_mult=1.0)}),
)
auto_scale_lr = dict(base_batch_size=64)
