# MS-MLP-Base on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/ms_mlp_base_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 83.8 (Zheng et al., MS-MLP, arXiv 2202.06510). Not rerun here.
# Needs data/imagenet. 8 GPUs x 64 pictures, twice before each step.
_base_ = ['ms_mlp_tiny_imagenet.py']

model = dict(model_name='ms_mlp_base', drop_path_rate=0.5)
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(accumulative_counts=2)
auto_scale_lr = dict(base_batch_size=512)
