# STEP's QKFormer with 512 channels on ImageNet-1K, by STEP's recipe.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/qkformer_imagenet_512_step.py --launcher pytorch --amp
# Expected: not published.
# Needs data/imagenet. 8 GPUs x 32 pictures.
_base_ = ['qkformer_imagenet_step.py']

model = dict(model_name='qkformer_imagenet_512')
