# Spikformer-8-384 on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/spikformer_8_384_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 70.24 (Zhou et al., Spikformer, arXiv 2209.15425). Not rerun here.
# Needs data/imagenet. 8 GPUs x 24 pictures.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/imagenet_spikformer.py',
    '../_base_/schedules/spikformer_310e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='spikformer_8_384')
