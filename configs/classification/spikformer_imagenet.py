# Spikformer-8-512 of STEP on ImageNet-1K, as STEP trains it: as the paper, with five operations of RandAugment.
#   torchrun --nproc-per-node 8 tools/train.py configs/classification/spikformer_imagenet.py --launcher pytorch --amp
# Expected: not published (the original has top-1 73.38).
# Needs data/imagenet. 8 GPUs x 24 pictures.
_base_ = [
    '../_base_/models/timm_classifier.py',
    '../_base_/datasets/imagenet_step.py',
    '../_base_/schedules/spikformer_310e.py',
    '../_base_/classification_runtime.py',
]

model = dict(model_name='spikformer_imagenet')
train_dataloader = dict(batch_size=24)
