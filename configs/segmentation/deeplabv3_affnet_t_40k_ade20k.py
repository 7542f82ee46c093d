# DeepLabv3 on AFFNet-T, ADE20K, 40k iterations.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/deeplabv3_affnet_t_40k_ade20k.py --launcher pytorch
# Expected: 36.9 mIoU with the published training; see deeplabv3_affnet_et_40k_ade20k.py. Not rerun here.
# Needs data/ade and the ImageNet weights checkpoints/affnet_t.pth.
_base_ = ['deeplabv3_affnet_et_40k_ade20k.py']

model = dict(
    backbone=dict(model_name='affnet_t', init_cfg=dict(checkpoint='checkpoints/affnet_t.pth')),
    decode_head=dict(in_channels=192),
    auxiliary_head=dict(in_channels=160),
)
