# Swin-S on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/swin_small_patch4_window7_224_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 83.2, top-5 96.2 (Liu et al., Swin Transformer, arXiv 2103.14030). Not rerun
# here.
# Needs data/imagenet. 8 GPUs x 128 pictures.
_base_ = ['swin_tiny_patch4_window7_224_imagenet.py']

model = dict(model_name='swin_small_patch4_window7_224', drop_path_rate=0.3)
