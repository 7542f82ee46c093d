# Spikformer with experts 8-384 on ImageNet-1K, by STEP's recipe.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/spikf_semm_8_384_imagenet.py --launcher pytorch --amp
# Expected: not published.
# Needs data/imagenet. 8 GPUs x 24 pictures.
_base_ = ['spikf_semm_8_512_imagenet.py']

model = dict(model_name='spikf_semm_imagenet_384')
