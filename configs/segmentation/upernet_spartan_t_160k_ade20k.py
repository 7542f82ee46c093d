# UPerNet on SpaRTAN-T, ADE20K, 160k iterations.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/segmentation/upernet_spartan_t_160k_ade20k.py --launcher pytorch
# Expected: not published. The family has published no segmentation; these are the settings of Swin's UPerNet, but for
# the lower rate of stochastic depth.
# Needs data/ade; no ImageNet weights are published, so configs/classification/spartan_t_imagenet.py comes first.
_base_ = ['../_base_/recipes/upernet_160k_ade20k.py']

model = dict(
    backbone=dict(
        model_name='spartan_t',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='work_dirs/spartan_t_imagenet/epoch_300.pth'),
    ),
    decode_head=dict(in_channels=[32, 64, 128, 256]),
    auxiliary_head=dict(in_channels=128),
)
