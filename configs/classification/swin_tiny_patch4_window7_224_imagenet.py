# Swin-T on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/swin_tiny_patch4_window7_224_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 81.2, top-5 95.5 (Liu et al., Swin Transformer, arXiv 2103.14030). Not rerun
# here.
# Needs data/imagenet. 8 GPUs x 128 pictures.
_base_ = [
    '../_base_/models/timm_classifier.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    '../_base_/schedules/swin_300e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='swin_tiny_patch4_window7_224', drop_path_rate=0.2)
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(relative_position_bias_table=dict(decay_mult=0.0))))
