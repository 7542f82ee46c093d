# Mask R-CNN on SVT-H-S, COCO, 1x.
#   torchrun --nproc-per-node 8 tools/train.py configs/detection/mask-rcnn_svt_s_fpn_1x_coco.py --launcher pytorch
# Expected on val2017: box AP 46.0, mask AP 41.9 (Patro and Agneeswaran, SVT, arXiv 2311.01310). Not rerun here.
# No detection code is published; these are the settings of the Mask R-CNNs of PVT v2 and Wave-ViT, on which it builds.
# Needs data/coco and the ImageNet weights checkpoints/svt_s.pth of a training by
# configs/classification/svt_s_imagenet.py; none are published.
_base_ = ['../_base_/recipes/mask-rcnn_coco.py', '../_base_/schedules/adamw_1x.py']

model = dict(
    backbone=dict(
        model_name='svt_s',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='checkpoints/svt_s.pth'),
    ),
    neck=dict(in_channels=[64, 128, 320, 448]),
)
optim_wrapper = dict(optimizer=dict(lr=2e-4, weight_decay=1e-4))
