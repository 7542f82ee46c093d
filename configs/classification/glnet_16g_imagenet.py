# GLNet-16G on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/glnet_16g_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 85.0 of the averaged weights (Zhu et al., GLMix, arXiv 2411.14429).
# Not rerun here.
# Needs data/imagenet.
_base_ = ['glnet_4g_imagenet.py']

model = dict(model_name='glnet_16g', drop_path_rate=0.4)
