# UPerNet on RaftMLP-S, ADE20K, 160k iterations.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/upernet_raft_mlp_s_160k_ade20k.py --launcher pytorch
# Expected: not published. The family has published Semantic FPN alone; these are the settings of Swin's UPerNet.
# Needs data/ade; no ImageNet weights are published, so configs/classification/raft_mlp_s_imagenet.py comes first.
_base_ = ['../_base_/recipes/upernet_160k_ade20k.py']

model = dict(
    backbone=dict(
        model_name='raft_mlp_s',
        downstream=True,
        init_cfg=dict(checkpoint='work_dirs/raft_mlp_s_imagenet/epoch_305.pth'),
    ),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256),
)
