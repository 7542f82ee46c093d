# STEP's Spike-driven Transformer 8-512, whose stride is 4, on ImageNet-1K, by STEP's recipe, which is in float32.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/sdt_imagenet_step.py --launcher pytorch
# Expected: not published.
# Needs data/imagenet. 8 GPUs x 32 pictures.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/imagenet_step.py',
    '../_base_/schedules/lamb_310e.py',
    '../_base_/classification_runtime.py',
]

# three tenths of the batches are mixed by each, and the others by none
model = dict(
    model_name='sdt_imagenet',
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)], probs=[0.3, 0.3]),
)
train_pipeline = _base_.train_pipeline
train_pipeline[1].aspect_ratio_range = (1.0, 1.0)
train_pipeline[3].magnitude_level = 5
del train_pipeline[4]  # no erasing
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
auto_scale_lr = dict(base_batch_size=256)
