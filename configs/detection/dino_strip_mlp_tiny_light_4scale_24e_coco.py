# DINO on Strip-MLP-T*, COCO, 24 epochs, as published with MLP-DINO (its plain detector).
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/detection/dino_strip_mlp_tiny_light_4scale_24e_coco.py --launcher pytorch
# Expected on val2017: in the paper (Cao et al., MLP-DINO, IJCAI 2024), which could not be read here; its repository
# gives no number. Not rerun here.
# Needs data/coco and the ImageNet weights checkpoints/strip_mlp_tiny_light.pth
# (pan.baidu.com/s/15SQy1MxY5RQlybNVpuFQcg?pwd=1234).
_base_ = ['dino_strip_mlp_tiny_4scale_24e_coco.py']

model = dict(
    backbone=dict(
        model_name='strip_mlp_tiny_light',
        init_cfg=dict(checkpoint='checkpoints/strip_mlp_tiny_light.pth'),
    ),
)
