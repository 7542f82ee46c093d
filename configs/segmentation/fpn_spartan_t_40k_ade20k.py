# Semantic FPN on SpaRTAN-T, ADE20K, 40k iterations.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/fpn_spartan_t_40k_ade20k.py --launcher pytorch
# Expected: not published. The family has published no segmentation; these are the settings of the Semantic FPN of
# RaftMLP.
# Needs data/ade; no ImageNet weights are published, so configs/classification/spartan_t_imagenet.py comes first.
_base_ = ['../_base_/recipes/fpn_40k_ade20k.py']

model = dict(
    backbone=dict(
        model_name='spartan_t',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='work_dirs/spartan_t_imagenet/epoch_300.pth'),
    ),
    neck=dict(in_channels=[32, 64, 128, 256]),
)
