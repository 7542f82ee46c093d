# Semantic FPN on Spikformer-8-384, ADE20K, 40k iterations.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/segmentation/fpn_spikformer_8_384_40k_ade20k.py --launcher pytorch
# Expected: not published. STEP puts a convolutional head on Spikformer-8-512 with a fifth pooling, from scratch (mIoU
# 23.51); these are the settings of the Semantic FPN of RaftMLP, without stochastic depth.
# Needs data/ade and the ImageNet weights checkpoints/spikformer_8_384.pth of a training by
# configs/classification/spikformer_8_384_imagenet.py; none are published.
_base_ = ['../_base_/recipes/fpn_40k_ade20k.py']

# strides 4, 8 and 16 of the backbone, averaged over time; the pyramid adds 32
model = dict(
    backbone=dict(model_name='spikformer_8_384', init_cfg=dict(checkpoint='checkpoints/spikformer_8_384.pth')),
    neck=dict(in_channels=[96, 192, 384]),
)
