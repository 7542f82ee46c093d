# Semantic FPN on Swin-MLP-T, ADE20K, 40k iterations.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/segmentation/fpn_swin_mlp_tiny_c24_40k_ade20k.py --launcher pytorch
# Expected: not published. This family has published classification alone; these are the settings of the Semantic FPN of
# RaftMLP.
# Needs data/ade and the ImageNet weights checkpoints/swin_mlp_tiny_c24_patch4_window8_256.pth
# (github.com/SwinTransformer/storage, release v1.0.5).
_base_ = ['../_base_/recipes/fpn_40k_ade20k.py']

model = dict(
    backbone=dict(
        model_name='swin_mlp_tiny_c24_patch4_window8_256',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='checkpoints/swin_mlp_tiny_c24_patch4_window8_256.pth'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
