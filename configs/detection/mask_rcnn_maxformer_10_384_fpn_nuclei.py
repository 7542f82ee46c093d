# Mask R-CNN on Max-Former-10-384, from scratch, for the nuclei of data/nuclei: a run that shows the way.
#   python tools/train.py configs/detection/mask_rcnn_maxformer_10_384_fpn_nuclei.py
# Expected: not measured to the end.
_base_ = ['../_base_/recipes/mask-rcnn_nuclei.py']

# three maps of membranes, averaged over time: the pyramid adds the coarser levels
model = dict(backbone=dict(model_name='maxformer_10_384'), neck=dict(in_channels=[96, 192, 384]))
