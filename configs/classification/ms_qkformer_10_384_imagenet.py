# MS-QKFormer-10-384 of one step on ImageNet-1K, with the published settings of its kin.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/ms_qkformer_10_384_imagenet.py --launcher pytorch --amp
# Expected: not published.
# Needs data/imagenet. 8 GPUs x 64 pictures.
_base_ = ['maxformer_10_384_t4_imagenet.py']

model = dict(model_name='ms_qkformer_10_384')
optim_wrapper = dict(optimizer=dict(lr=2.4e-3))
