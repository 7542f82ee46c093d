# Semantic FPN on SGLFormer-8-384, from scratch, for the nuclei of data/nuclei: a run that shows the way.
#   python tools/train.py configs/segmentation/fpn_sglformer_ima_8_384_nuclei.py
# Expected: not measured to the end.
_base_ = ['../_base_/recipes/fpn_nuclei.py']

# strides 4, 8 and 16; pictures are kept apart
model = dict(
    backbone=dict(model_name='sglformer_ima_8_384', mixed_batch=False),
    neck=dict(in_channels=[96, 192, 384], num_outs=3),
    decode_head=dict(feature_strides=[4, 8, 16], in_channels=[64, 64, 64], in_index=[0, 1, 2]),
)
