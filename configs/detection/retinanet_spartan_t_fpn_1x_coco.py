# RetinaNet on SpaRTAN-T, COCO, 1x.
#   torchrun --nproc-per-node 8 tools/train.py configs/detection/retinanet_spartan_t_fpn_1x_coco.py --launcher pytorch
# Expected: not published. The paper has RT-DETR alone, which mmdet lacks; these are the settings of Swin's
# detectors.
# Needs data/coco; no ImageNet weights are published, so configs/classification/spartan_t_imagenet.py comes first.
_base_ = ['../_base_/recipes/retinanet_coco.py', '../_base_/schedules/swin_1x.py']

model = dict(
    backbone=dict(
        model_name='spartan_t',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='work_dirs/spartan_t_imagenet/epoch_300.pth'),
    ),
    neck=dict(in_channels=[32, 64, 128, 256]),
)
