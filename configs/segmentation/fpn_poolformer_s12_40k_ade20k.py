# Semantic FPN on PoolFormer-S12, ADE20K, 40k iterations, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/fpn_poolformer_s12_40k_ade20k.py --launcher pytorch
# Expected on the validation split: mIoU 37.2 (Yu et al., MetaFormer, arXiv 2111.11418). Not rerun here.
# Needs data/ade and the ImageNet weights checkpoints/poolformer_s12.pth.tar (github.com/sail-sg/poolformer, release
# v1.0).
_base_ = ['../_base_/recipes/fpn_40k_ade20k_pvt.py']

model = dict(
    backbone=dict(
        model_name='poolformer_s12',
        out_norm='group',
        init_cfg=dict(checkpoint='checkpoints/poolformer_s12.pth.tar'),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
