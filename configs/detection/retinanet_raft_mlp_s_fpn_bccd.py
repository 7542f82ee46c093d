# RetinaNet on RaftMLP-S, from scratch, for the blood cells of BCCD: a run that shows the way.
#   python tools/train.py configs/detection/retinanet_raft_mlp_s_fpn_bccd.py
# Expected: not measured to the end. An iteration takes 5 s on one core, an epoch has 26.
_base_ = ['../_base_/recipes/retinanet_bccd.py']

model = dict(
    backbone=dict(model_name='raft_mlp_s'),
    # Strides 8, 16 and 32 of the backbone, and 64.
    neck=dict(in_channels=[64, 128, 256, 512], start_level=1, add_extra_convs='on_output'),
)
