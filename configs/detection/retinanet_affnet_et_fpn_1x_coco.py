# RetinaNet on AFFNet-ET, COCO, 1x.
#   torchrun --nproc-per-node 8 tools/train.py configs/detection/retinanet_affnet_et_fpn_1x_coco.py --launcher pytorch
# Expected: not published. The settings of its SSDLite detectors are not public; these are the settings of Swin's
# detectors.
# Needs data/coco and the ImageNet weights checkpoints/affnet_et.pth (the folders that
# github.com/microsoft/TokenMixers links hold them).
_base_ = ['../_base_/recipes/retinanet_coco.py', '../_base_/schedules/swin_1x.py']

model = dict(
    data_preprocessor=dict(mean=[0, 0, 0], std=[255, 255, 255]),  # values in [0, 1] and no further
    backbone=dict(
        model_name='affnet_et',
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='checkpoints/affnet_et.pth'),
    ),
    neck=dict(in_channels=[48, 64, 104, 144]),
)
