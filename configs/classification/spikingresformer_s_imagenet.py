# SpikingResformer-S on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/spikingresformer_s_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 75.95 (Shi et al., arXiv 2403.14302, as recalled). Not rerun here.
# Needs data/imagenet. 8 GPUs x 32 pictures.
_base_ = ['spikingresformer_ti_imagenet.py']

model = dict(model_name='spikingresformer_s')
