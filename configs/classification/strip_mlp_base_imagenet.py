# Strip-MLP-B on ImageNet-1K, as published, in float32.
#   python tools/train.py configs/classification/strip_mlp_base_imagenet.py
# Expected on the validation split: top-1 83.6, top-5 96.5 (Cao et al., Strip-MLP, arXiv 2307.11458). Not rerun here.
# Needs data/imagenet. 128 pictures on one GPU.
_base_ = ['strip_mlp_tiny_light_imagenet.py']

model = dict(model_name='strip_mlp_base')
