# SGLFormer-8-768, whose stem halves late, on ImageNet-1K, by the published recipe.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/sglformer_ima2_8_768_imagenet.py --launcher pytorch --amp
# Expected: not published.
# Needs data/imagenet. 8 GPUs x 64 pictures, without Mixup and CutMix.
_base_ = ['sglformer_ima_8_384_imagenet.py']

model = dict(model_name='sglformer_ima2_8_768')
