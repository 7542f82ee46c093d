# MS-QKFormer-10-384 of four steps on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/ms_qkformer_10_384_t4_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 76.48 (Fang et al., arXiv 2505.18608). Not rerun here.
# Needs data/imagenet. 8 GPUs x 64 pictures.
_base_ = ['maxformer_10_384_t4_imagenet.py']

model = dict(model_name='ms_qkformer_10_384_t4')
