# PoolFormer-S12 on ImageNet-1K, as published; timm's network has the last norm behind the pooling, the official before.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/poolformer_s12_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 77.2 (Yu et al., MetaFormer, arXiv 2111.11418). Not rerun here.
# Needs data/imagenet. 8 GPUs x 128 pictures.
# Differs: pictures are resized and bent bicubically, where the official script draws bilinear or bicubic each time.
_base_ = [
    '../_base_/models/timm_classifier.py',
    'mmpretrain::_base_/datasets/imagenet_bs128_poolformer_small_224.py',
    '../_base_/schedules/poolformer_310e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='poolformer_s12', drop_path_rate=0.1)
