# Semantic FPN on QKFormer 10-384, from scratch, for the nuclei of data/nuclei: a run that shows the way.
#   python tools/train.py configs/segmentation/fpn_qkformer_10_384_nuclei.py
# Expected: not measured to the end.
# Images are kept apart, as a detector or a segmenter needs them.
_base_ = ['../_base_/recipes/fpn_nuclei.py']

# three maps, averaged over time
model = dict(
    backbone=dict(model_name='qkformer_10_384', mixed_batch=False),
    neck=dict(in_channels=[96, 192, 384], num_outs=3),
    decode_head=dict(in_channels=[64, 64, 64], in_index=[0, 1, 2], feature_strides=[4, 8, 16]),
)
