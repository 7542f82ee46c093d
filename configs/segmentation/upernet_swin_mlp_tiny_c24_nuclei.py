# UPerNet on Swin-MLP-T, from scratch, for the nuclei of data/nuclei: a run that shows the way.
#   python tools/train.py configs/segmentation/upernet_swin_mlp_tiny_c24_nuclei.py
# Expected: not measured to the end. An iteration takes 4 s on one core.
_base_ = ['../_base_/models/upernet_timm.py', '../_base_/recipes/semantic_nuclei.py']

norm_cfg = dict(type='BN', requires_grad=True)
head = dict(channels=64, num_classes=2, norm_cfg=norm_cfg)
model = dict(
    data_preprocessor=dict(size=(256, 256)),
    backbone=dict(model_name='swin_mlp_tiny_c24_patch4_window8_256', img_size=256, drop_path_rate=0.1),
    decode_head=dict(in_channels=[96, 192, 384, 768], **head),
    auxiliary_head=dict(in_channels=384, **head),
)
