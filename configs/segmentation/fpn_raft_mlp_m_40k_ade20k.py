# Semantic FPN on RaftMLP-M, ADE20K, 40k iterations, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/fpn_raft_mlp_m_40k_ade20k.py --launcher pytorch
# Expected on the validation split: in the paper (Tatsunami and Taki, RaftMLP, arXiv 2108.04384), which could not be
# read here; its repository gives no number. Not rerun here.
# Needs data/ade; no ImageNet weights are published, so configs/classification/raft_mlp_m_imagenet.py comes first.
_base_ = ['fpn_raft_mlp_s_40k_ade20k.py']

model = dict(
    backbone=dict(model_name='raft_mlp_m', init_cfg=dict(checkpoint='work_dirs/raft_mlp_m_imagenet/epoch_305.pth')),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
