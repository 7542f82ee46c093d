# RetinaNet on PoolFormer-S12, COCO, 1x, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/detection/retinanet_poolformer_s12_fpn_1x_coco.py --launcher pytorch
# Expected on val2017: box AP 36.2 (Yu et al., MetaFormer, arXiv 2111.11418). Not rerun here.
# Needs data/coco and the ImageNet weights checkpoints/poolformer_s12.pth.tar (github.com/sail-sg/poolformer, release
# v1.0).
_base_ = ['../_base_/recipes/retinanet_coco.py', '../_base_/schedules/adamw_1x.py']

model = dict(
    backbone=dict(
        model_name='poolformer_s12',
        out_indices=(1, 2, 3),
        out_norm='group',
        init_cfg=dict(checkpoint='checkpoints/poolformer_s12.pth.tar'),
    ),
    neck=dict(in_channels=[128, 320, 512], start_level=0),
)
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
