# Semantic FPN on LSNet-T, ADE20K, 40k iterations, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/fpn_lsnet_t_40k_ade20k.py --launcher pytorch
# Expected on the validation split: mIoU 40.1 (Wang et al., LSNet, arXiv 2503.23135). Not rerun here.
# Needs data/ade and the ImageNet weights checkpoints/lsnet_t.pth (huggingface.co/jameslahm/lsnet).
_base_ = ['../_base_/recipes/fpn_40k_ade20k_pvt.py']

model = dict(
    backbone=dict(
        model_name='lsnet_t',
        downstream=True,
        norm_eval=True,
        init_cfg=dict(checkpoint='checkpoints/lsnet_t.pth'),
    ),
    # The maps lie at strides 8 to 64; the head's strides only count its upsamplings, so its logits lie at stride 8.
    neck=dict(in_channels=[64, 128, 256, 384]),
)
param_scheduler = [dict(type='PolyLR', eta_min=1e-6, power=0.9, begin=0, end=40000, by_epoch=False)]
