# Semantic FPN on DSM tiny, from scratch, for the nuclei of data/nuclei: a run that shows the way.
#   python tools/train.py configs/segmentation/fpn_dsm_tiny_nuclei.py
# Expected: not measured to the end.
_base_ = ['../_base_/recipes/fpn_nuclei.py']

model = dict(backbone=dict(model_name='dsm_tiny'), neck=dict(in_channels=[64, 128, 320, 512]))
