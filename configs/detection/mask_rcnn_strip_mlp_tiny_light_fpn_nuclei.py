# Mask R-CNN on Strip-MLP-T*, from scratch, for the nuclei of data/nuclei: a run that shows the way.
#   python tools/train.py configs/detection/mask_rcnn_strip_mlp_tiny_light_fpn_nuclei.py
# Expected: not measured to the end. An iteration takes 3 to 4 s on one core, an epoch has 138.
_base_ = ['../_base_/recipes/mask-rcnn_nuclei.py']

model = dict(backbone=dict(model_name='strip_mlp_tiny_light'), neck=dict(in_channels=[80, 160, 320, 640]))
