# UPerNet on GLNet-4G, ADE20K, 160k iterations.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/upernet_glnet_4g_160k_ade20k.py --launcher pytorch
# Expected: not confirmed. The paper has a table of UPerNets of as many iterations, but its code was never released;
# these are the settings of Swin's UPerNet.
# Needs data/ade and the ImageNet weights checkpoints/glnet_4g.pth (the entry `model` of the file that
# github.com/rayleizhu/GLMix links).
_base_ = ['../_base_/recipes/upernet_160k_ade20k.py']

model = dict(
    backbone=dict(model_name='glnet_4g', init_cfg=dict(checkpoint='checkpoints/glnet_4g.pth')),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256),
)
