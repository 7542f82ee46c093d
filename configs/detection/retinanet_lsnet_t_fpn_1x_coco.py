# RetinaNet on LSNet-T, COCO, 1x, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/detection/retinanet_lsnet_t_fpn_1x_coco.py --launcher pytorch
# Expected on val2017: box AP 34.2, AP50 54.6 (Wang et al., LSNet, arXiv 2503.23135). Not rerun here.
# Needs data/coco and the ImageNet weights checkpoints/lsnet_t.pth (huggingface.co/jameslahm/lsnet).
_base_ = ['../_base_/recipes/retinanet_coco.py', '../_base_/schedules/adamw_1x.py']

model = dict(
    backbone=dict(
        model_name='lsnet_t',
        downstream=True,
        norm_eval=True,
        init_cfg=dict(checkpoint='checkpoints/lsnet_t.pth'),
    ),
    neck=dict(in_channels=[64, 128, 256, 384], start_level=0),  # strides 8 to 64 of the backbone, and 128
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(attention_biases=dict(decay_mult=0.0))))
