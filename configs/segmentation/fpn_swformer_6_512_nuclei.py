# Semantic FPN on SWformer-6-512, from scratch, for the nuclei of data/nuclei: a run that shows the way.
#   python tools/train.py configs/segmentation/fpn_swformer_6_512_nuclei.py
# Expected: not measured to the end.
_base_ = ['../_base_/recipes/fpn_nuclei.py']

# three maps, averaged over time
model = dict(
    backbone=dict(model_name='swformer_6_512'),
    neck=dict(in_channels=[128, 256, 512], num_outs=3),
    decode_head=dict(in_channels=[64, 64, 64], in_index=[0, 1, 2], feature_strides=[4, 8, 16]),
)
