# SGLFormer-8-384, whose stem halves early, on ImageNet-1K, by the published recipe.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/sglformer_ima_8_384_imagenet.py --launcher pytorch --amp
# Expected: not published.
# Needs data/imagenet. 8 GPUs x 64 pictures, without Mixup and CutMix.
_base_ = [
    '../_base_/models/timm_classifier.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    '../_base_/schedules/sglformer_200e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='sglformer_ima_8_384', train_cfg=dict(_delete_=True, augments=None))
train_dataloader = dict(batch_size=64)
