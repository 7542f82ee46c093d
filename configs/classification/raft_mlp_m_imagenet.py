# RaftMLP-M on ImageNet-1K, as published: as RaftMLP-S.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/raft_mlp_m_imagenet.py --launcher pytorch
# Expected on the validation split: top-1 78.8 (Tatsunami and Taki, RaftMLP, arXiv 2108.04384; quoted from
# memory, the paper could not be opened here). Not rerun here.
# Needs data/imagenet. 8 GPUs x 256 pictures.
_base_ = ['raft_mlp_s_imagenet.py']

model = dict(model_name='raft_mlp_m')
