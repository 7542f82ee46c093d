# PoolFormer-S36 on ImageNet-1K, as published; timm's network has the last norm behind the pooling, the official before.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/poolformer_s36_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 81.4 (Yu et al., MetaFormer, arXiv 2111.11418). Not rerun here.
# Needs data/imagenet. 8 GPUs x 128 pictures.
_base_ = ['poolformer_s12_imagenet.py']

model = dict(model_name='poolformer_s36', drop_path_rate=0.2)
