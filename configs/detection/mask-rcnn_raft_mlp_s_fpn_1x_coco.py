# Mask R-CNN on RaftMLP-S, COCO, 1x, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/detection/mask-rcnn_raft_mlp_s_fpn_1x_coco.py --launcher pytorch
# Expected on val2017: in the paper (Tatsunami and Taki, RaftMLP, arXiv 2108.04384), which could not be
# read here; its repository gives no number. Not rerun here.
# Needs data/coco; no ImageNet weights are published, so configs/classification/raft_mlp_s_imagenet.py comes first.
_base_ = ['../_base_/recipes/mask-rcnn_coco.py', '../_base_/schedules/adamw_1x.py']

model = dict(
    # The first map is the patch embedding's, before the first level's blocks: what the official code hands on.
    backbone=dict(
        model_name='raft_mlp_s',
        downstream=True,
        init_cfg=dict(checkpoint='work_dirs/raft_mlp_s_imagenet/epoch_305.pth'),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
