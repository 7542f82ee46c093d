# UPerNet on SVT-H-S, ADE20K, 160k iterations.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/upernet_svt_s_160k_ade20k.py --launcher pytorch
# Expected: not published. The repository of this family has classification alone; these are the settings of Swin's
# UPerNet.
# Needs data/ade and the ImageNet weights checkpoints/svt_s.pth of a training by
# configs/classification/svt_s_imagenet.py; none are published.
_base_ = ['../_base_/recipes/upernet_160k_ade20k.py']

model = dict(
    backbone=dict(model_name='svt_s', init_cfg=dict(checkpoint='checkpoints/svt_s.pth')),
    decode_head=dict(in_channels=[64, 128, 320, 448]),
    auxiliary_head=dict(in_channels=320),
)
