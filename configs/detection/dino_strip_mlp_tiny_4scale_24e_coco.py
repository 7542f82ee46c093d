# DINO on Strip-MLP-T, COCO, 24 epochs, as published with MLP-DINO (its plain detector).
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/detection/dino_strip_mlp_tiny_4scale_24e_coco.py --launcher pytorch
# Expected on val2017: in the paper (Cao et al., MLP-DINO, IJCAI 2024), which could not be read here; its repository
# gives no number. Not rerun here.
# Needs data/coco and the ImageNet weights checkpoints/strip_mlp_tiny.pth
# (pan.baidu.com/s/1mUDavm3Y8pmW8p7QmypnNQ?pwd=1234).
# Norms learn: the official code sets them to eval once, before its training loop sets them back.
# Differs: the official code adds losses of the boxes' centres and of their sides, at weight 1, which mmdet's DINO
# lacks.
_base_ = ['../_base_/recipes/dino_24e_coco.py']

model = dict(
    backbone=dict(
        model_name='strip_mlp_tiny',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='checkpoints/strip_mlp_tiny.pth'),
    ),
    neck=dict(in_channels=[160, 320, 640]),
    dn_cfg=dict(box_noise_scale=0.4),
)
