# DSM base as reconstructed, on ImageNet-1K.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/dsm_base_imagenet.py --launcher pytorch --amp
# Expected: not published. Neither the recipe nor the variants of the paper are public; these are the settings of Swin.
# Needs data/imagenet. 8 GPUs x 128 pictures.
_base_ = ['dsm_tiny_imagenet.py']

model = dict(model_name='dsm_base', drop_path_rate=0.3)
