# QKFormer 10-512 on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/qkformer_10_512_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 82.04 (Zhou et al., arXiv 2403.16552). Not rerun here.
# Needs data/imagenet. 8 GPUs x 64 pictures, without Mixup and CutMix.
_base_ = ['qkformer_10_384_imagenet.py']

model = dict(model_name='qkformer_10_512')
