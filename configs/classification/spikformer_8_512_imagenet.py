# Spikformer-8-512 on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/spikformer_8_512_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 73.38 (Zhou et al., Spikformer, arXiv 2209.15425). Not rerun here.
# Needs data/imagenet. 8 GPUs x 24 pictures.
_base_ = ['spikformer_8_384_imagenet.py']

model = dict(model_name='spikformer_8_512')
