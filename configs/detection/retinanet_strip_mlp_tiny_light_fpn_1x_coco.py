# RetinaNet on Strip-MLP-T*, COCO, 1x.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/detection/retinanet_strip_mlp_tiny_light_fpn_1x_coco.py --launcher pytorch
# Expected: not published. The family has published DINO alone; these are the settings of Swin's detectors.
# Needs data/coco and the ImageNet weights checkpoints/strip_mlp_tiny_light.pth
# (pan.baidu.com/s/15SQy1MxY5RQlybNVpuFQcg?pwd=1234).
_base_ = ['../_base_/recipes/retinanet_coco.py', '../_base_/schedules/swin_1x.py']

model = dict(
    backbone=dict(
        model_name='strip_mlp_tiny_light',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='checkpoints/strip_mlp_tiny_light.pth'),
    ),
    neck=dict(in_channels=[80, 160, 320, 640]),
)
