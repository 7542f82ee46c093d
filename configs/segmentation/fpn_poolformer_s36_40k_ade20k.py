# Semantic FPN on PoolFormer-S36, ADE20K, 40k iterations, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/fpn_poolformer_s36_40k_ade20k.py --launcher pytorch
# Expected on the validation split: mIoU 42.0 (Yu et al., MetaFormer, arXiv 2111.11418). Not rerun here.
# Needs data/ade and the ImageNet weights checkpoints/poolformer_s36.pth.tar (github.com/sail-sg/poolformer, release
# v1.0).
_base_ = ['fpn_poolformer_s12_40k_ade20k.py']

model = dict(
    backbone=dict(model_name='poolformer_s36', init_cfg=dict(checkpoint='checkpoints/poolformer_s36.pth.tar')),
)
