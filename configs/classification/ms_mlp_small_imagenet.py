# MS-MLP-Small on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/ms_mlp_small_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 83.4 (Zheng et al., MS-MLP, arXiv 2202.06510). Not rerun here.
# Needs data/imagenet. 8 GPUs x 128 pictures.
_base_ = ['ms_mlp_tiny_imagenet.py']

model = dict(model_name='ms_mlp_small', drop_path_rate=0.4)
