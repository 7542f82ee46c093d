# UPerNet on Swin-MLP-T, ADE20K, 160k iterations.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/segmentation/upernet_swin_mlp_tiny_c24_160k_ade20k.py --launcher pytorch
# Expected: not published. This family has published classification alone; these are the settings of Swin's UPerNet.
# Needs data/ade and the ImageNet weights checkpoints/swin_mlp_tiny_c24_patch4_window8_256.pth
# (github.com/SwinTransformer/storage, release v1.0.5).
_base_ = ['../_base_/recipes/upernet_160k_ade20k.py']

model = dict(
    backbone=dict(
        model_name='swin_mlp_tiny_c24_patch4_window8_256',
        init_cfg=dict(checkpoint='checkpoints/swin_mlp_tiny_c24_patch4_window8_256.pth'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
