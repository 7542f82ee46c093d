# MS-MLP-Tiny on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/ms_mlp_tiny_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 82.1 (Zheng et al., MS-MLP, arXiv 2202.06510). Not rerun here.
# Needs data/imagenet. 8 GPUs x 128 pictures.
_base_ = [
    '../_base_/models/timm_classifier.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    '../_base_/schedules/swin_300e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='ms_mlp_tiny', drop_path_rate=0.1)
train_dataloader = dict(batch_size=128)
