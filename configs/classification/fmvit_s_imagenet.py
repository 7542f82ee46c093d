# FMViT-S as reconstructed, on ImageNet-1K.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/fmvit_s_imagenet.py --launcher pytorch
# Expected: not known. The paper's models (Tan et al., FMViT, arXiv 2311.05707) are not public, and its recipe could not
# be read; these are the settings of Next-ViT (arXiv 2207.05501).
# Needs data/imagenet. 8 GPUs x 256 pictures.
_base_ = ['fmvit_t_imagenet.py']

model = dict(model_name='fmvit_s')
