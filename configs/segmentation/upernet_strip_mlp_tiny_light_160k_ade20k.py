# UPerNet on Strip-MLP-T*, ADE20K, 160k iterations.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/segmentation/upernet_strip_mlp_tiny_light_160k_ade20k.py --launcher pytorch
# Expected: not published. The family has published DINO alone; these are the settings of Swin's UPerNet.
# Needs data/ade and the ImageNet weights checkpoints/strip_mlp_tiny_light.pth
# (pan.baidu.com/s/15SQy1MxY5RQlybNVpuFQcg?pwd=1234).
_base_ = ['../_base_/recipes/upernet_160k_ade20k.py']

model = dict(
    backbone=dict(model_name='strip_mlp_tiny_light', init_cfg=dict(checkpoint='checkpoints/strip_mlp_tiny_light.pth')),
    decode_head=dict(in_channels=[80, 160, 320, 640]),
    auxiliary_head=dict(in_channels=320),
)
