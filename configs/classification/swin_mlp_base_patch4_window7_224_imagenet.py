# Swin-MLP-B on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/swin_mlp_base_patch4_window7_224_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 81.3, top-5 95.3 (github.com/microsoft/Swin-Transformer). Not
# rerun here.
# Needs data/imagenet. 8 GPUs x 64 pictures, twice before each step, as the repository's README has it for Swin-B.
_base_ = [
    '../_base_/models/timm_classifier.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    '../_base_/schedules/swin_300e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='swin_mlp_base_patch4_window7_224', drop_path_rate=0.5)
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(accumulative_counts=2)
auto_scale_lr = dict(base_batch_size=512)
