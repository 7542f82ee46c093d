# Mask R-CNN on LSNet-T for the nuclei of data/nuclei, from scratch: a run that shows the way.
#   python tools/train.py configs/detection/mask_rcnn_lsnet_t_fpn_nuclei.py
# Expected: not measured to the end.
_base_ = ['../_base_/recipes/mask-rcnn_nuclei.py']

model = dict(
    backbone=dict(model_name='lsnet_t'),
    # The backbone begins at stride 8, and half of the nuclei are smaller than 20 pixels: add stride 4.
    neck=dict(type='TransposedConvFPN', in_channels=[64, 128, 256, 384], num_extra_trans_convs=1),
)
