# UPerNet on Spikformer-8-384, ADE20K, 160k iterations.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/segmentation/upernet_spikformer_8_384_160k_ade20k.py --launcher pytorch
# Expected: not published. These are the settings of Swin's UPerNet, without stochastic depth.
# Needs data/ade and the ImageNet weights checkpoints/spikformer_8_384.pth of a training by
# configs/classification/spikformer_8_384_imagenet.py; none are published.
_base_ = ['../_base_/recipes/upernet_160k_ade20k.py']

# strides 4, 8 and 16 of the backbone, averaged over time
model = dict(
    backbone=dict(
        model_name='spikformer_8_384', drop_path_rate=0.0, init_cfg=dict(checkpoint='checkpoints/spikformer_8_384.pth')
    ),
    decode_head=dict(in_channels=[96, 192, 384], in_index=[0, 1, 2]),
    auxiliary_head=dict(in_channels=384, in_index=2),
)
