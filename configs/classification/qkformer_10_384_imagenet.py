# QKFormer 10-384 on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/qkformer_10_384_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 78.80 (Zhou et al., arXiv 2403.16552). Not rerun here.
# Needs data/imagenet. 8 GPUs x 64 pictures, without Mixup and CutMix. The schedule is also that of SGLFormer.
_base_ = [
    '../_base_/models/timm_classifier.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    '../_base_/schedules/sglformer_200e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='qkformer_10_384', train_cfg=dict(_delete_=True, augments=None))
train_dataloader = dict(batch_size=64)
