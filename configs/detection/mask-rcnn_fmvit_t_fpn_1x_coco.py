# Mask R-CNN on FMViT-T as reconstructed, COCO, 1x.
#   torchrun --nproc-per-node 8 tools/train.py configs/detection/mask-rcnn_fmvit_t_fpn_1x_coco.py --launcher pytorch
# Expected: not known. Settings of the paper could not be read; these are those of Swin's detectors.
# Needs data/coco and ImageNet weights that fmvit_t_imagenet.py trained, as checkpoints/fmvit_t.pth.
_base_ = ['../_base_/recipes/mask-rcnn_coco.py', '../_base_/schedules/swin_1x.py']

model = dict(
    backbone=dict(model_name='fmvit_t', drop_path_rate=0.1, init_cfg=dict(checkpoint='checkpoints/fmvit_t.pth')),
    neck=dict(in_channels=[16, 64, 128, 256]),
)
