# STEP's Spike-driven Transformer 8-384, whose stride is 4, on ImageNet-1K, by STEP's recipe, which is in float32.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/sdt_imagenet_384_step.py --launcher pytorch
# Expected: not published.
# Needs data/imagenet. 8 GPUs x 32 pictures.
_base_ = ['sdt_imagenet_step.py']

model = dict(model_name='sdt_imagenet_384')
