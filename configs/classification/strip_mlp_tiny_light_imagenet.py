# Strip-MLP-T* on ImageNet-1K, as published, in float32.
#   python tools/train.py configs/classification/strip_mlp_tiny_light_imagenet.py
# Expected on the validation split: top-1 81.2, top-5 95.6 (Cao et al., Strip-MLP, arXiv 2307.11458). Not rerun here.
# Needs data/imagenet. 128 pictures on one GPU, as in the repository's README. Its rate is 5e-4 for a batch of 300
# (Swin: 512); --auto-scale-lr keeps that rule on more GPUs.
_base_ = [
    '../_base_/models/timm_classifier.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    '../_base_/schedules/swin_300e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='strip_mlp_tiny_light', drop_path_rate=0.1)
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(
    optimizer=dict(lr=5e-4 * 128 / 300),
    # Of four axes in the official code, so they decay there.
    paramwise_cfg=dict(custom_keys={'mlp.gamma': dict(decay_mult=1.0), 'mlp.beta': dict(decay_mult=1.0)}),
)
auto_scale_lr = dict(base_batch_size=128)
