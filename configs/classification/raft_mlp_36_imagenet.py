# RaftMLP of 36 blocks at one level, raft size 2, on ImageNet-1K, as published: as RaftMLP-S.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/raft_mlp_36_imagenet.py --launcher pytorch
# Expected: not known here. An ablation of Tatsunami and Taki, RaftMLP, arXiv 2108.04384; its repository gives
# no number.
# Needs data/imagenet. 8 GPUs x 192 pictures.
_base_ = ['raft_mlp_s_imagenet.py']

model = dict(model_name='raft_mlp_36')
train_dataloader = dict(batch_size=192)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
auto_scale_lr = dict(base_batch_size=1536)
