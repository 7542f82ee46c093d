# Semantic FPN on FMViT-T as reconstructed, ADE20K, 40k iterations.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/fpn_fmvit_t_40k_ade20k.py --launcher pytorch
# Expected: not known. Settings of the paper could not be read; these are those of the Semantic FPN
# of RaftMLP.
# Needs data/ade and ImageNet weights that fmvit_t_imagenet.py trained, as checkpoints/fmvit_t.pth.
_base_ = ['../_base_/recipes/fpn_40k_ade20k.py']

model = dict(
    backbone=dict(model_name='fmvit_t', drop_path_rate=0.1, init_cfg=dict(checkpoint='checkpoints/fmvit_t.pth')),
    neck=dict(in_channels=[16, 64, 128, 256]),
)
