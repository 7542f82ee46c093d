# UPerNet on DSM tiny, ADE20K, 160k iterations.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/segmentation/upernet_dsm_tiny_160k_ade20k.py --launcher pytorch
# Expected: not published. The models are a reconstruction; these are the settings of Swin's
# UPerNet.
# Needs data/ade and the ImageNet weights checkpoints/dsm_tiny.pth of your own
# training (dsm_tiny_imagenet.py): none were published.
_base_ = ['../_base_/recipes/upernet_160k_ade20k.py']

model = dict(
    backbone=dict(model_name='dsm_tiny', init_cfg=dict(checkpoint='checkpoints/dsm_tiny.pth')),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
    auxiliary_head=dict(in_channels=320),
)
