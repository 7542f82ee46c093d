# Semantic FPN on LSNet-T, ADE20K, 40k iterations, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/fpn_lsnet_t_40k_ade20k.py --launcher pytorch
# Expected on the validation split: mIoU 40.1 (Wang et al., LSNet, arXiv 2503.23135). Not rerun here.
# Needs data/ade and the ImageNet weights checkpoints/lsnet_t.pth (huggingface.co/jameslahm/lsnet).
_base_ = [
    'mmseg::_base_/models/fpn_r50.py',
    'mmseg::_base_/datasets/ade20k.py',
    '../_base_/segmentation_schedule.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='TimmFeatures',
        model_name='lsnet_t',
        downstream=True,
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/lsnet_t.pth'),
    ),
    neck=dict(in_channels=[64, 128, 256, 384]),
    # The maps lie at strides 8 to 64; the head's strides only count its upsamplings, so its logits lie at stride 8.
    decode_head=dict(num_classes=150),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys=dict(attention_biases=dict(decay_mult=0.0))),
)
param_scheduler = [dict(type='PolyLR', eta_min=0.0, power=0.9, begin=0, end=40000, by_epoch=False)]
