# STEP's Spike-driven Transformer 8-512, whose stride is 4, on ImageNet-1K, by STEP's recipe.
#   torchrun --nproc-per-node 8 \
#     tools/train.py configs/classification/sdt_imagenet_step.py --launcher pytorch
# Expected: not published.
# Needs data/imagenet. 8 GPUs x 32 pictures.
_base_ = ['sdt_8_384_imagenet.py']

model = dict(model_name='sdt_imagenet')
train_dataloader = dict(batch_size=32, sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))
auto_scale_lr = dict(base_batch_size=256)
