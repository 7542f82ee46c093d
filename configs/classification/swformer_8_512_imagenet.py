# SWformer-8-512 on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/swformer_8_512_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 75.43 (Fang et al., SWformer, arXiv 2403.11138). Not rerun here.
# Needs data/imagenet. 8 GPUs x 64 pictures.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/imagenet_swformer.py',
    '../_base_/schedules/swformer_310e.py',
    '../_base_/classification_runtime.py',
]

# three tenths of the batches are mixed by each, and the others by none
model = dict(
    model_name='swformer_8_512',
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)], probs=[0.3, 0.3]),
)
