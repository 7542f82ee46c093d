# Semantic FPN on AFFNet-ET, ADE20K, 40k iterations.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/fpn_affnet_et_40k_ade20k.py --launcher pytorch
# Expected: not published in this form: 33.0 mIoU is that of the DeepLabv3 head of CVNets at 256x256, whose settings are
# not public (arXiv 2307.14008). These are the settings of other families here.
# Needs data/ade and the ImageNet weights checkpoints/affnet_et.pth (the folders that
# github.com/microsoft/TokenMixers links hold them).
_base_ = ['../_base_/recipes/fpn_40k_ade20k.py']

model = dict(
    data_preprocessor=dict(mean=[0, 0, 0], std=[255, 255, 255]),  # values in [0, 1] and no further
    backbone=dict(
        model_name='affnet_et',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='checkpoints/affnet_et.pth'),
    ),
    neck=dict(in_channels=[48, 64, 104, 144]),
)
