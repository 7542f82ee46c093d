# Mask R-CNN on LSNet-S, COCO, 1x, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/detection/mask-rcnn_lsnet_s_fpn_1x_coco.py --launcher pytorch
# Expected on val2017: box AP 37.4, mask AP 34.8 (Wang et al., LSNet, arXiv 2503.23135). Not rerun here.
# Needs data/coco and the ImageNet weights checkpoints/lsnet_s.pth (huggingface.co/jameslahm/lsnet).
_base_ = ['mask-rcnn_lsnet_t_fpn_1x_coco.py']

model = dict(
    backbone=dict(model_name='lsnet_s', init_cfg=dict(checkpoint='checkpoints/lsnet_s.pth')),
    neck=dict(in_channels=[96, 192, 320, 448]),
)
