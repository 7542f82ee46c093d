# SGLFormer-8-384, whose stem halves late, on ImageNet-1K, by the published recipe.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/sglformer_ima2_8_384_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 79.44 (8-384, Zhang et al., doi 10.3389/fnins.2024.1371290). Not rerun here.
# Needs data/imagenet. 8 GPUs x 64 pictures, without Mixup and CutMix.
_base_ = ['sglformer_ima_8_384_imagenet.py']

model = dict(model_name='sglformer_ima2_8_384')
