# Mask R-CNN on LSNet-B, COCO, 1x, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/detection/mask-rcnn_lsnet_b_fpn_1x_coco.py --launcher pytorch
# Expected on val2017: box AP 40.8, mask AP 37.8 (Wang et al., LSNet, arXiv 2503.23135). Not rerun here.
# Needs data/coco and the ImageNet weights checkpoints/lsnet_b.pth (huggingface.co/jameslahm/lsnet).
_base_ = ['mask-rcnn_lsnet_t_fpn_1x_coco.py']

model = dict(
    backbone=dict(model_name='lsnet_b', init_cfg=dict(checkpoint='checkpoints/lsnet_b.pth')),
    neck=dict(in_channels=[128, 256, 384, 512]),
)
