# Mask R-CNN on LSNet-T, COCO, 1x, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/detection/mask-rcnn_lsnet_t_fpn_1x_coco.py --launcher pytorch
# Expected on val2017: box AP 35.0, mask AP 32.7 (Wang et al., LSNet, arXiv 2503.23135). Not rerun here.
# Needs data/coco and the ImageNet weights checkpoints/lsnet_t.pth (huggingface.co/jameslahm/lsnet).
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '../_base_/schedules/adamw_1x.py',
    '../_base_/detection_runtime.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='TimmFeatures',
        model_name='lsnet_t',
        downstream=True,
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/lsnet_t.pth'),
    ),
    # The backbone begins at stride 8, the detector at 4.
    neck=dict(type='TransposedConvFPN', in_channels=[64, 128, 256, 384], num_extra_trans_convs=1),
)
