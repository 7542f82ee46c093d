# RetinaNet on PoolFormer-S24, COCO, 1x, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/detection/retinanet_poolformer_s24_fpn_1x_coco.py --launcher pytorch
# Expected on val2017: box AP 38.9 (Yu et al., MetaFormer, arXiv 2111.11418). Not rerun here.
# Needs data/coco and the ImageNet weights checkpoints/poolformer_s24.pth.tar (github.com/sail-sg/poolformer, release
# v1.0).
_base_ = ['retinanet_poolformer_s12_fpn_1x_coco.py']

model = dict(
    backbone=dict(model_name='poolformer_s24', init_cfg=dict(checkpoint='checkpoints/poolformer_s24.pth.tar')),
)
