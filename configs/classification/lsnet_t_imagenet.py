# LSNet-T on ImageNet-1K, as published, without distillation.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/lsnet_t_imagenet.py --launcher pytorch
# Expected on the validation split: top-1 74.9 (Wang et al., LSNet, arXiv 2503.23135), of the weights themselves, while
# validation here takes their average. Not rerun here.
# Needs data/imagenet.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/imagenet_lsnet.py',
    '../_base_/schedules/deit_300e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='lsnet_t')
