# LSNet-T on ImageNet-1K, as published, taught by a RegNetY-16GF whose weights timm downloads.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/lsnet_t_distill_imagenet.py --launcher pytorch
# Expected on the validation split: top-1 76.1 (Wang et al., LSNet, arXiv 2503.23135). Not rerun here.
# Needs data/imagenet.
_base_ = ['lsnet_t_imagenet.py']

custom_imports = dict(imports=['backbones.mm', 'backbones.mm.distill'], allow_failed_imports=False)
model = dict(
    type='DistilledTimmClassifier',
    model_name='lsnet_t_distill',
    teacher=dict(model_name='regnety_160.deit_in1k', pretrained=True),
    distill_weight=0.5,
)
