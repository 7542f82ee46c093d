# Mask R-CNN on GLNet-4G, COCO, 3x with pictures of many sizes.
#   torchrun --nproc-per-node 8 tools/train.py configs/detection/mask-rcnn_glnet_4g_fpn_3x_coco.py --launcher pytorch
# Expected: not confirmed. The paper has a table of 3x detectors, but its code was never released;
# these are the settings of Swin's detectors.
# Needs data/coco and the ImageNet weights checkpoints/glnet_4g.pth (the entry `model` of the file that
# github.com/rayleizhu/GLMix links).
_base_ = ['../_base_/recipes/mask-rcnn_coco_3x.py']

model = dict(
    backbone=dict(
        model_name='glnet_4g',
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='checkpoints/glnet_4g.pth'),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
