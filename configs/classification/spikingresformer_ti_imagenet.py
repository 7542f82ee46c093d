# SpikingResformer-Ti on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/spikingresformer_ti_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 74.34 (Shi et al., arXiv 2403.14302, as recalled). Not rerun here.
# Needs data/imagenet. 8 GPUs x 32 pictures.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/imagenet_spiking_resformer.py',
    '../_base_/schedules/spiking_resformer_320e.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    model_name='spikingresformer_ti',
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)]),
)
