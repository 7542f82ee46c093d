# Max-Former-10-384 of four steps on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/maxformer_10_384_t4_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 77.82 (Fang et al., arXiv 2505.18608). Not rerun here.
# The paper erases nothing; these are the settings of the code, which erases as Swin does.
# Needs data/imagenet. 8 GPUs x 64 pictures.
_base_ = [
    '../_base_/models/timm_classifier.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    '../_base_/schedules/max_former_200e.py',
    '../_base_/classification_runtime.py',
]

# a quarter of the batches is mixed by each, and half of them by none
model = dict(
    model_name='maxformer_10_384_t4',
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.25), dict(type='CutMix', alpha=1.0)], probs=[0.25, 0.25]),
)
