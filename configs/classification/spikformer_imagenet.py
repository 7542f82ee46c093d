# Spikformer-8-512 of STEP on ImageNet-1K, as STEP trains it, which is by the paper's recipe.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/spikformer_imagenet.py --launcher pytorch --amp
# Expected: not published (the original has top-1 73.38).
# Needs data/imagenet. 8 GPUs x 24 pictures.
_base_ = ['spikformer_8_384_imagenet.py']

model = dict(model_name='spikformer_imagenet')
