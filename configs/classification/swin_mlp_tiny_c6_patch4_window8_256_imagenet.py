# Swin-MLP-T of 6 channels a head on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/swin_mlp_tiny_c6_patch4_window8_256_imagenet.py --launcher pytorch --amp
# Expected on the validation split at 256x256: top-1 79.7, top-5 94.9 (github.com/microsoft/Swin-Transformer). Not
# rerun here.
# Needs data/imagenet. 8 GPUs x 128 pictures.
_base_ = ['swin_mlp_tiny_c24_patch4_window8_256_imagenet.py']

model = dict(model_name='swin_mlp_tiny_c6_patch4_window8_256')
