# Swin-MLP-T of 24 channels a head on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/swin_mlp_tiny_c24_patch4_window8_256_imagenet.py --launcher pytorch --amp
# Expected on the validation split at 256x256: top-1 79.4, top-5 94.6 (github.com/microsoft/Swin-Transformer). Not
# rerun here.
# Needs data/imagenet. 8 GPUs x 128 pictures.
_base_ = [
    '../_base_/models/timm_classifier.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_256.py',
    '../_base_/schedules/swin_300e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='swin_mlp_tiny_c24_patch4_window8_256', drop_path_rate=0.2)
train_dataloader = dict(batch_size=128)
