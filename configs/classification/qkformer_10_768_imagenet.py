# QKFormer 10-768 on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/qkformer_10_768_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 84.22 (Zhou et al., arXiv 2403.16552). Not rerun here.
# Needs data/imagenet. 8 GPUs x 72 pictures, without Mixup and CutMix.
_base_ = ['qkformer_10_384_imagenet.py']

model = dict(model_name='qkformer_10_768')
train_dataloader = dict(batch_size=72)
optim_wrapper = dict(optimizer=dict(lr=1.35e-3))
auto_scale_lr = dict(base_batch_size=576)
