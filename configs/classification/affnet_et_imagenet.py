# AFFNet-ET on ImageNet-1K at 256x256.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/affnet_et_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 73.0 (Huang et al., AFFNet, arXiv 2307.14008). Not rerun here, and the recipe
# is not public: this is MobileViT's, which the repository descends from, without its batches of several sizes.
# Needs data/imagenet. 8 GPUs x 128 pictures.
_base_ = [
    '../_base_/datasets/imagenet_256.py',
    '../_base_/schedules/mobilevit_300e.py',
    '../_base_/classification_runtime.py',
]

data_preprocessor = dict(num_classes=1000, mean=[0, 0, 0], std=[255, 255, 255], to_rgb=True)  # values in [0, 1]
model = dict(
    type='TimmClassifier',
    model_name='affnet_et',
    num_classes=1000,
    loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
)
