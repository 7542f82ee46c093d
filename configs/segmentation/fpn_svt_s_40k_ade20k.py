# Semantic FPN on SVT-H-S, ADE20K, 40k iterations.
#   torchrun --nproc-per-node 8 tools/train.py configs/segmentation/fpn_svt_s_40k_ade20k.py --launcher pytorch
# Expected: not published. The repository of this family has classification alone; these are the settings of the
# Semantic FPN of RaftMLP.
# Needs data/ade and the ImageNet weights checkpoints/svt_s.pth of a training by
# configs/classification/svt_s_imagenet.py; none are published.
_base_ = ['../_base_/recipes/fpn_40k_ade20k.py']

model = dict(
    backbone=dict(
        model_name='svt_s',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='checkpoints/svt_s.pth'),
    ),
    neck=dict(in_channels=[64, 128, 320, 448]),
)
