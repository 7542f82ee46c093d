# Spike-driven Transformer 8-512 on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/sdt_8_512_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 74.57 (Yao et al., arXiv 2307.01694). Not rerun here.
# Needs data/imagenet. 8 GPUs x 48 pictures.
_base_ = ['sdt_8_384_imagenet.py']

model = dict(model_name='sdt_8_512')
