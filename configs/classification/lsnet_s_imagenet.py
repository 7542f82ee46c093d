# LSNet-S on ImageNet-1K, as published, without distillation.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/lsnet_s_imagenet.py --launcher pytorch
# Expected on the validation split: top-1 77.8 (Wang et al., LSNet, arXiv 2503.23135), of the weights themselves, while
# validation here takes their average. Not rerun here.
# Needs data/imagenet.
_base_ = ['lsnet_t_imagenet.py']

model = dict(model_name='lsnet_s')
