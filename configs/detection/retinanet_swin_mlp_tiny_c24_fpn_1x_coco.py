# RetinaNet on Swin-MLP-T, COCO, 1x.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/detection/retinanet_swin_mlp_tiny_c24_fpn_1x_coco.py --launcher pytorch
# Expected: not published. This family has published classification alone; these are the settings of Swin's detectors.
# Needs data/coco and the ImageNet weights checkpoints/swin_mlp_tiny_c24_patch4_window8_256.pth
# (github.com/SwinTransformer/storage, release v1.0.5).
_base_ = ['../_base_/recipes/retinanet_coco.py', '../_base_/schedules/swin_1x.py']

model = dict(
    backbone=dict(
        model_name='swin_mlp_tiny_c24_patch4_window8_256',
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='checkpoints/swin_mlp_tiny_c24_patch4_window8_256.pth'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
