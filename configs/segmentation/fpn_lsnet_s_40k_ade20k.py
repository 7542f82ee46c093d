# Semantic FPN on LSNet-S, ADE20K, 40k iterations, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/fpn_lsnet_s_40k_ade20k.py --launcher pytorch
# Expected on the validation split: mIoU 41.6 (Wang et al., LSNet, arXiv 2503.23135). Not rerun here.
# Needs data/ade and the ImageNet weights checkpoints/lsnet_s.pth (huggingface.co/jameslahm/lsnet).
_base_ = ['fpn_lsnet_t_40k_ade20k.py']

model = dict(
    backbone=dict(model_name='lsnet_s', init_cfg=dict(checkpoint='checkpoints/lsnet_s.pth')),
    neck=dict(in_channels=[96, 192, 320, 448]),
)
