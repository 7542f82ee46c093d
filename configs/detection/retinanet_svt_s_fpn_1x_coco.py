# RetinaNet on SVT-H-S, COCO, 1x.
#   torchrun --nproc-per-node 8 tools/train.py configs/detection/retinanet_svt_s_fpn_1x_coco.py --launcher pytorch
# Expected: not published. These are the settings of the RetinaNets of PVT v2 and Wave-ViT, on which the family builds.
# Needs data/coco and the ImageNet weights checkpoints/svt_s.pth of a training by
# configs/classification/svt_s_imagenet.py; none are published.
_base_ = ['../_base_/recipes/retinanet_coco.py', '../_base_/schedules/adamw_1x.py']

model = dict(
    backbone=dict(
        model_name='svt_s',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='checkpoints/svt_s.pth'),
    ),
    neck=dict(in_channels=[64, 128, 320, 448]),
)
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
