# Spikingformer 8-512 on ImageNet-1K, by the published recipe of its 8-768.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/spikingformer_8_512_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 74.79 (Zhou et al., arXiv 2304.11954). Not rerun here.
# Needs data/imagenet. 8 GPUs x 36 pictures.
_base_ = ['spikingformer_8_768_imagenet.py']

model = dict(model_name='spikingformer_8_512')
