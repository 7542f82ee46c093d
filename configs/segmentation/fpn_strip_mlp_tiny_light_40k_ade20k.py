# Semantic FPN on Strip-MLP-T*, ADE20K, 40k iterations.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/segmentation/fpn_strip_mlp_tiny_light_40k_ade20k.py --launcher pytorch
# Expected: not published. The family has published DINO alone; these are the settings of the Semantic FPN of RaftMLP.
# Needs data/ade and the ImageNet weights checkpoints/strip_mlp_tiny_light.pth
# (pan.baidu.com/s/15SQy1MxY5RQlybNVpuFQcg?pwd=1234).
_base_ = ['../_base_/recipes/fpn_40k_ade20k.py']

model = dict(
    backbone=dict(
        model_name='strip_mlp_tiny_light',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='checkpoints/strip_mlp_tiny_light.pth'),
    ),
    neck=dict(in_channels=[80, 160, 320, 640]),
)
