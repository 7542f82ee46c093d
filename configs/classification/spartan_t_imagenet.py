# SpaRTAN-T on ImageNet-1K, as published.
#   torchrun --nproc-per-node 4 tools/train.py configs/classification/spartan_t_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 77.7 (Pay et al., SpaRTAN, arXiv 2507.10999). Not rerun here.
# Needs data/imagenet. 4 GPUs x 512 pictures.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/imagenet_spartan.py',
    '../_base_/schedules/spartan_300e.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    model_name='spartan_t',
    drop_path_rate=0.1,
    loss=dict(_delete_=True, type='CrossEntropyLoss', use_soft=True),  # no label smoothing
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)]),
)
