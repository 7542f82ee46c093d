# Semantic FPN on FMViT-T as reconstructed, from scratch, for the nuclei of data/nuclei: a run that shows the way.
#   python tools/train.py configs/segmentation/fpn_fmvit_t_nuclei.py
# Expected: not measured to the end.
_base_ = ['../_base_/recipes/fpn_nuclei.py']

model = dict(backbone=dict(model_name='fmvit_t'), neck=dict(in_channels=[16, 64, 128, 256]))
