# Swin-B on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/swin_base_patch4_window7_224_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 83.5, top-5 96.5 (Liu et al., Swin Transformer, arXiv 2103.14030). Not rerun
# here.
# Needs data/imagenet. 8 GPUs x 64 pictures, twice before each step, as the repository's README has it.
_base_ = ['swin_tiny_patch4_window7_224_imagenet.py']

model = dict(model_name='swin_base_patch4_window7_224', drop_path_rate=0.5)
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(accumulative_counts=2)
auto_scale_lr = dict(base_batch_size=512)
