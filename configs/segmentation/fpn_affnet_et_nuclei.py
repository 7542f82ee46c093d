# Semantic FPN on AFFNet-ET, from scratch, for the nuclei of data/nuclei: a run that shows the way.
#   python tools/train.py configs/segmentation/fpn_affnet_et_nuclei.py
# Expected: not measured to the end.
_base_ = ['../_base_/recipes/fpn_nuclei.py']

model = dict(backbone=dict(model_name='affnet_et'), neck=dict(in_channels=[48, 64, 104, 144]))
