# GLNet-STL with learned slots on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/glnet_stl_paramslot_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 82.1 (Zhu et al., GLMix, arXiv 2411.14429), of the
# weights themselves, while validation here takes their average. Not rerun here.
# Needs data/imagenet.
_base_ = ['glnet_stl_imagenet.py']

model = dict(model_name='glnet_stl_paramslot')
