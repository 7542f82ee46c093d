# DSM tiny as reconstructed, on ImageNet-1K.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/dsm_tiny_imagenet.py --launcher pytorch --amp
# Expected: not published. Neither the recipe nor the variants of the paper are public; these are the settings of Swin.
# Needs data/imagenet. 8 GPUs x 128 pictures.
_base_ = [
    '../_base_/models/timm_classifier.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    '../_base_/schedules/swin_300e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='dsm_tiny', drop_path_rate=0.1)
train_dataloader = dict(batch_size=128)
