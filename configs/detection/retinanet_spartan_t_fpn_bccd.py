# RetinaNet on SpaRTAN-T, from scratch, for the blood cells of BCCD: a run that shows the way.
#   python tools/train.py configs/detection/retinanet_spartan_t_fpn_bccd.py
# Expected: not measured to the end.
_base_ = ['../_base_/recipes/retinanet_bccd.py']

model = dict(
    backbone=dict(model_name='spartan_t'),
    # Strides 8, 16 and 32 of the backbone, and 64.
    neck=dict(in_channels=[32, 64, 128, 256], start_level=1, add_extra_convs='on_output'),
)
