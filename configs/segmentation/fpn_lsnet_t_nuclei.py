# Semantic FPN on LSNet-T for the nuclei of data/nuclei, from scratch: a run that shows the way.
#   python tools/train.py configs/segmentation/fpn_lsnet_t_nuclei.py
# Expected: not measured to the end.
_base_ = ['../_base_/recipes/fpn_nuclei.py']

model = dict(
    # The stem's map at stride 4 draws the borders; the stages follow at strides 8, 16 and 32 (and 64).
    backbone=dict(model_name='lsnet_t', stem_feature=True, out_indices=(0, 1, 2, 3, 4)),
    neck=dict(in_channels=[32, 64, 128, 256, 384], num_outs=5),
    decode_head=dict(
        in_channels=[64, 64, 64, 64, 64],
        in_index=[0, 1, 2, 3, 4],
        feature_strides=[4, 8, 16, 32, 64],
    ),
)
