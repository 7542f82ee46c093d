# Semantic FPN on GLNet-4G, ADE20K, 40k iterations.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/fpn_glnet_4g_40k_ade20k.py --launcher pytorch
# Expected: not confirmed. The paper has a Semantic FPN of 80k iterations, but its code was never released;
# fpn_glnet_4g_80k_ade20k.py is as long. These are the settings of the Semantic FPN of RaftMLP.
# Needs data/ade and the ImageNet weights checkpoints/glnet_4g.pth (the entry `model` of the file that
# github.com/rayleizhu/GLMix links).
_base_ = ['../_base_/recipes/fpn_40k_ade20k.py']

model = dict(
    backbone=dict(
        model_name='glnet_4g',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='checkpoints/glnet_4g.pth'),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
