# Mask R-CNN on Spikformer-8-384, from scratch, for the nuclei of data/nuclei: a run that shows the way.
#   python tools/train.py configs/detection/mask_rcnn_spikformer_8_384_fpn_nuclei.py
# Expected: not measured to the end.
_base_ = ['../_base_/recipes/mask-rcnn_nuclei.py']

# three maps of spikes, averaged over time: the pyramid adds the coarser levels
model = dict(backbone=dict(model_name='spikformer_8_384', drop_path_rate=0.0), neck=dict(in_channels=[96, 192, 384]))
