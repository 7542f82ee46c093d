# Semantic FPN on SVT-H-S, from scratch, for the nuclei of data/nuclei: a run that shows the way.
#   python tools/train.py configs/segmentation/fpn_svt_s_nuclei.py
# Expected: not measured to the end.
_base_ = ['../_base_/recipes/fpn_nuclei.py']

model = dict(backbone=dict(model_name='svt_s'), neck=dict(in_channels=[64, 128, 320, 448]))
