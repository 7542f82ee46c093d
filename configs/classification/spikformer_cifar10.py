# Spikformer-4-384 on CIFAR-10 at 32x32, as STEP trains it: a hundred epochs more than the paper.
#   python tools/train.py configs/classification/spikformer_cifar10.py --amp
# Expected on the test split: top-1 95.12 (STEP, arXiv 2505.11151). Not rerun here.
# With model.neuron=clif 95.38, glif 95.41, klif 95.85, plif 96.06; with model.encoding=rate 82.83, ttfs 82.10, phase
# 82.75 (on normalised pictures, as published).
# Needs data/cifar10. 128 pictures on one GPU.
_base_ = ['spikformer_4_384_cifar10.py']

model = dict(model_name='spikformer_cifar')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=True, begin=0, end=21),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=400),
    dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=400, end=410),
]
train_cfg = dict(max_epochs=410)
