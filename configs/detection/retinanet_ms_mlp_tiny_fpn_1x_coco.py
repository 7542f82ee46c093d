# RetinaNet on MS-MLP-Tiny, COCO, 1x.
#   torchrun --nproc-per-node 8 tools/train.py configs/detection/retinanet_ms_mlp_tiny_fpn_1x_coco.py --launcher pytorch
# Expected: not published. The repository of this family has classification alone; these are the settings of Swin's
# detectors.
# Needs data/coco and the ImageNet weights checkpoints/ms_mlp_tiny.pth (the entry `model` of the file that
# github.com/JegZheng/MS-MLP links).
_base_ = ['../_base_/recipes/retinanet_coco.py', '../_base_/schedules/swin_1x.py']

model = dict(
    backbone=dict(
        model_name='ms_mlp_tiny',
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='checkpoints/ms_mlp_tiny.pth'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
