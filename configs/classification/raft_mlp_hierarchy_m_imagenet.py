# RaftMLP-M with plain patches on ImageNet-1K, as published: as RaftMLP-S.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/raft_mlp_hierarchy_m_imagenet.py --launcher pytorch
# Expected: not known here. An ablation of Tatsunami and Taki, RaftMLP, arXiv 2108.04384; its repository gives
# no number.
# Needs data/imagenet. 8 GPUs x 256 pictures.
_base_ = ['raft_mlp_s_imagenet.py']

model = dict(model_name='raft_mlp_hierarchy_m')
