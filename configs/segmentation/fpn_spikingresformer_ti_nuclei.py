# Semantic FPN on SpikingResformer-Ti, from scratch, for the nuclei of data/nuclei: a run that shows the way.
#   python tools/train.py configs/segmentation/fpn_spikingresformer_ti_nuclei.py
# Expected: not measured to the end.
_base_ = ['../_base_/recipes/fpn_nuclei.py']

# three maps of membranes, averaged over time
model = dict(
    backbone=dict(model_name='spikingresformer_ti'),
    neck=dict(in_channels=[64, 192, 384], num_outs=3),
    decode_head=dict(in_channels=[64, 64, 64], in_index=[0, 1, 2], feature_strides=[4, 8, 16]),
)
