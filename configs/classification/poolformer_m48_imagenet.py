# PoolFormer-M48 on ImageNet-1K, as published; timm's network has the last norm behind the pooling, the official before.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/poolformer_m48_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 82.5 (Yu et al., MetaFormer, arXiv 2111.11418). Not rerun here.
# Needs data/imagenet. 8 GPUs x 128 pictures.
_base_ = ['poolformer_m36_imagenet.py']

model = dict(model_name='poolformer_m48', drop_path_rate=0.4)
