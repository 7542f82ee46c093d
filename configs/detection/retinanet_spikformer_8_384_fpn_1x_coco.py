# RetinaNet on Spikformer-8-384, COCO, 1x.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/detection/retinanet_spikformer_8_384_fpn_1x_coco.py --launcher pytorch
# Expected: not published. These are the settings of Swin's detectors, without stochastic depth.
# Needs data/coco and the ImageNet weights checkpoints/spikformer_8_384.pth of a training by
# configs/classification/spikformer_8_384_imagenet.py; none are published.
_base_ = ['../_base_/recipes/retinanet_coco.py', '../_base_/schedules/swin_1x.py']

# strides 8 and 16 of the backbone, averaged over time; the pyramid adds 32, 64 and 128
model = dict(
    backbone=dict(model_name='spikformer_8_384', init_cfg=dict(checkpoint='checkpoints/spikformer_8_384.pth')),
    neck=dict(in_channels=[96, 192, 384]),
)
