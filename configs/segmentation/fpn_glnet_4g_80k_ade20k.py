# Semantic FPN on GLNet-4G, ADE20K, 80k iterations.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/fpn_glnet_4g_80k_ade20k.py --launcher pytorch
# Expected: not confirmed. The paper has a table of Semantic FPNs of as many iterations, but its code was never
# released; these are the settings of the Semantic FPN of RaftMLP, twice as long.
# Needs data/ade and the ImageNet weights checkpoints/glnet_4g.pth (the entry `model` of the file that
# github.com/rayleizhu/GLMix links).
_base_ = ['fpn_glnet_4g_40k_ade20k.py']

train_cfg = dict(max_iters=80000, val_interval=8000)
param_scheduler = [dict(type='PolyLR', eta_min=0.0, power=0.9, begin=0, end=80000, by_epoch=False)]
default_hooks = dict(checkpoint=dict(interval=8000))
