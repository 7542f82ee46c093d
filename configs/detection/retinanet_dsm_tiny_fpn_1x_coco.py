# RetinaNet on DSM tiny, COCO, 1x.
#   torchrun --nproc-per-node 8 tools/train.py configs/detection/retinanet_dsm_tiny_fpn_1x_coco.py --launcher pytorch
# Expected: not published. The models are a reconstruction; these are the settings of Swin's
# detectors.
# Needs data/coco and the ImageNet weights checkpoints/dsm_tiny.pth of your own
# training (dsm_tiny_imagenet.py): none were published.
_base_ = ['../_base_/recipes/retinanet_coco.py', '../_base_/schedules/swin_1x.py']

model = dict(
    backbone=dict(
        model_name='dsm_tiny',
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='checkpoints/dsm_tiny.pth'),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
