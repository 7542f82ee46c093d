# Semantic FPN on RaftMLP-S, ADE20K, 40k iterations, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/fpn_raft_mlp_s_40k_ade20k.py --launcher pytorch
# Expected on the validation split: in the paper (Tatsunami and Taki, RaftMLP, arXiv 2108.04384), which could not be
# read here; its repository gives no number. Not rerun here.
# Needs data/ade; no ImageNet weights are published, so configs/classification/raft_mlp_s_imagenet.py comes first.
_base_ = ['../_base_/recipes/fpn_40k_ade20k.py']

model = dict(
    # The first map is the patch embedding's, before the first level's blocks: what the official code hands on.
    backbone=dict(
        model_name='raft_mlp_s',
        downstream=True,
        init_cfg=dict(checkpoint='work_dirs/raft_mlp_s_imagenet/epoch_305.pth'),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
