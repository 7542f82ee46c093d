# RetinaNet on RaftMLP-L, COCO, 1x, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/detection/retinanet_raft_mlp_l_fpn_1x_coco.py --launcher pytorch
# Expected on val2017: in the paper (Tatsunami and Taki, RaftMLP, arXiv 2108.04384), which could not be
# read here; its repository gives no number. Not rerun here.
# Needs data/coco; no ImageNet weights are published, so configs/classification/raft_mlp_l_imagenet.py comes first.
_base_ = ['retinanet_raft_mlp_s_fpn_1x_coco.py']

model = dict(
    backbone=dict(model_name='raft_mlp_l', init_cfg=dict(checkpoint='work_dirs/raft_mlp_l_imagenet/epoch_305.pth')),
    neck=dict(in_channels=[128, 192, 512, 1024]),
)
