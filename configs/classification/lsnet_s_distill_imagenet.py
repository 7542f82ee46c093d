# LSNet-S on ImageNet-1K, as published, taught by a RegNetY-16GF whose weights timm downloads.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/lsnet_s_distill_imagenet.py --launcher pytorch
# Expected on the validation split: top-1 79.0 (Wang et al., LSNet, arXiv 2503.23135). Not rerun here.
# Needs data/imagenet.
_base_ = ['lsnet_t_distill_imagenet.py']

model = dict(model_name='lsnet_s_distill')
