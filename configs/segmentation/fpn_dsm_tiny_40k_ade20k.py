# Semantic FPN on DSM tiny, ADE20K, 40k iterations.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/fpn_dsm_tiny_40k_ade20k.py --launcher pytorch
# Expected: not published. The models are a reconstruction; these are the settings of the
# Semantic FPN of RaftMLP.
# Needs data/ade and the ImageNet weights checkpoints/dsm_tiny.pth of your own
# training (dsm_tiny_imagenet.py): none were published.
_base_ = ['../_base_/recipes/fpn_40k_ade20k.py']

model = dict(
    backbone=dict(
        model_name='dsm_tiny',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='checkpoints/dsm_tiny.pth'),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
