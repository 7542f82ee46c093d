# Semantic FPN on Spikformer with experts 8-384, from scratch, for the nuclei of data/nuclei: a run that shows the way.
#   python tools/train.py configs/segmentation/fpn_spikf_semm_8_384_nuclei.py
# Expected: not measured to the end.
_base_ = ['../_base_/recipes/fpn_nuclei.py']

# strides 4 and 8 of the stem, and 16 behind the last block
model = dict(
    backbone=dict(model_name='spikf_semm_imagenet_384', out_indices=(0, 1, -1)),
    neck=dict(in_channels=[96, 192, 384], num_outs=3),
    decode_head=dict(feature_strides=[4, 8, 16], in_channels=[64, 64, 64], in_index=[0, 1, 2]),
)
