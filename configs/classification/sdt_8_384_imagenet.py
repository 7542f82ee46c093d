# Spike-driven Transformer 8-384 on ImageNet-1K, as published.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/sdt_8_384_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 72.28 (Yao et al., arXiv 2307.01694). Not rerun here.
# Needs data/imagenet. 8 GPUs x 48 pictures.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/imagenet_sdt.py',
    '../_base_/schedules/lamb_310e.py',
    '../_base_/classification_runtime.py',
]

# three tenths of the batches are mixed by each, and the others by none
model = dict(
    model_name='sdt_8_384',
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)], probs=[0.3, 0.3]),
)
