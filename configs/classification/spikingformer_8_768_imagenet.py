# Spikingformer 8-768 on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/spikingformer_8_768_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 75.85 (Zhou et al., arXiv 2304.11954). Not rerun here.
# Needs data/imagenet. 8 GPUs x 36 pictures.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/imagenet_spikingformer.py',
    '../_base_/schedules/spikingformer_310e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='spikingformer_8_768')
