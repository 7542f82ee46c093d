# RaftMLP-S on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/raft_mlp_s_imagenet.py --launcher pytorch
# Expected on the validation split: top-1 76.1 (Tatsunami and Taki, RaftMLP, arXiv 2108.04384; quoted from
# memory, the paper could not be opened here). Not rerun here.
# Needs data/imagenet. 8 GPUs x 256 pictures.
# Differs: the official code mixes each batch by Mixup and then by CutMix, both at alpha 0.8, and its RandAugment
# package has other operations; mmpretrain has one of the two per batch.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/imagenet_raft_mlp.py',
    '../_base_/schedules/raft_mlp_305e.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    model_name='raft_mlp_s',
    drop_path_rate=0.1,
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=0.8)]),
)
