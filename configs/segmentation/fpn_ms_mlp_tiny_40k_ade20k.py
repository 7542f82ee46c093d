# Semantic FPN on MS-MLP-Tiny, ADE20K, 40k iterations.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/fpn_ms_mlp_tiny_40k_ade20k.py --launcher pytorch
# Expected: not published. The repository of this family has classification alone; these are the settings of the
# Semantic FPN of RaftMLP.
# Needs data/ade and the ImageNet weights checkpoints/ms_mlp_tiny.pth (the entry `model` of the file that
# github.com/JegZheng/MS-MLP links).
_base_ = ['../_base_/recipes/fpn_40k_ade20k.py']

model = dict(
    backbone=dict(
        model_name='ms_mlp_tiny',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='checkpoints/ms_mlp_tiny.pth'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
