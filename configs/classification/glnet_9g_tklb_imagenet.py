# GLNet-9G with a classifier of every position on ImageNet-1K, but from labels of whole pictures.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/glnet_9g_tklb_imagenet.py --launcher pytorch --amp
# Expected: not published. The published top-1 of 85.3 (Zhu et al., GLMix, arXiv 2411.14429) is that of a training with
# token labels, maps of classes that another network gave, and with tokens of two pictures mixed behind the stem: this
# project has neither. Length, rates and the size of the pictures in validation are the published ones.
# Needs data/imagenet.
_base_ = ['glnet_4g_tklb_imagenet.py']

model = dict(model_name='glnet_9g_tklb')
