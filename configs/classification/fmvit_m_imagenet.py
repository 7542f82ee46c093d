# FMViT-M as reconstructed, on ImageNet-1K.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/fmvit_m_imagenet.py --launcher pytorch
# Expected: not known. The paper's models (Tan et al., FMViT, arXiv 2311.05707) are not public, and its recipe could not
# be read; these are the settings of Next-ViT (arXiv 2207.05501).
# Needs data/imagenet. 8 GPUs x 256 pictures.
_base_ = [
    '../_base_/models/timm_classifier.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    '../_base_/schedules/next_vit_300e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='fmvit_m', drop_path_rate=0.1)
train_dataloader = dict(batch_size=256)
