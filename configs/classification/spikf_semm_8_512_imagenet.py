# Spikformer with experts 8-512 on ImageNet-1K, as STEP trains it.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/spikf_semm_8_512_imagenet.py --launcher pytorch --amp
# Expected on the validation split: top-1 75.93 (Spiking Transformer with Experts Mixture, NeurIPS 2024). Not rerun
# here.
# Needs data/imagenet. 8 GPUs x 24 pictures.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/imagenet_step.py',
    '../_base_/schedules/step_410e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='spikf_semm_imagenet')
train_dataloader = dict(batch_size=24)
val_dataloader = dict(batch_size=24)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=5e-4, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=2e-2, by_epoch=True, begin=0, end=21),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=300),
    dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=300, end=310),
]
train_cfg = dict(max_epochs=310)
custom_hooks = []
auto_scale_lr = dict(base_batch_size=192)
