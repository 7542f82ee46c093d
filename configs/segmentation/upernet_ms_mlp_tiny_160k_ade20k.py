# UPerNet on MS-MLP-Tiny, ADE20K, 160k iterations.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/segmentation/upernet_ms_mlp_tiny_160k_ade20k.py --launcher pytorch
# Expected: not published. The repository of this family has classification alone; these are the settings of Swin's
# UPerNet.
# Needs data/ade and the ImageNet weights checkpoints/ms_mlp_tiny.pth (the entry `model` of the file that
# github.com/JegZheng/MS-MLP links).
_base_ = ['../_base_/recipes/upernet_160k_ade20k.py']

model = dict(
    backbone=dict(model_name='ms_mlp_tiny', init_cfg=dict(checkpoint='checkpoints/ms_mlp_tiny.pth')),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
