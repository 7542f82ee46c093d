# Semantic FPN on MS-MLP-Tiny, from scratch, for the nuclei of data/nuclei: a run that shows the way.
#   python tools/train.py configs/segmentation/fpn_ms_mlp_tiny_nuclei.py
# Expected: not measured to the end. An iteration takes about 5 s on one core.
_base_ = ['../_base_/recipes/fpn_nuclei.py']

model = dict(backbone=dict(model_name='ms_mlp_tiny'), neck=dict(in_channels=[96, 192, 384, 768]))
