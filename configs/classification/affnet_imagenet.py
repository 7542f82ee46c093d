# AFFNet on ImageNet-1K at 256x256.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/affnet_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 79.8 (Huang et al., AFFNet, arXiv 2307.14008). Not rerun here, and the recipe
# is not public: this is MobileViT's, which the repository descends from, without its batches of several sizes.
# Needs data/imagenet. 8 GPUs x 128 pictures.
_base_ = ['affnet_et_imagenet.py']

model = dict(model_name='affnet')
