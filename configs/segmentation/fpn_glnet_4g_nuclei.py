# Semantic FPN on GLNet-4G, from scratch, for the nuclei of data/nuclei: a run that shows the way.
#   python tools/train.py configs/segmentation/fpn_glnet_4g_nuclei.py
# Expected: not measured to the end.
_base_ = ['../_base_/recipes/fpn_nuclei.py']

model = dict(backbone=dict(model_name='glnet_4g'), neck=dict(in_channels=[64, 128, 256, 512]))
