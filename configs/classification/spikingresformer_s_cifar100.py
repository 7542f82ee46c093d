# SpikingResformer-S on CIFAR-100 at 128x128, from ImageNet weights, as published.
#   python tools/train.py configs/classification/spikingresformer_s_cifar100.py --amp
# Expected: published (Shi et al., arXiv 2403.14302), and not at hand.
# Needs data/cifar100, laid out as data/cifar10 is, and the ImageNet weights as checkpoints/spikingresformer_s.pth
# (drive.google.com, folder 1sAFHKF9QZC2P0aSoC9bdLqgW8TfLjFSC). 128 pictures on one GPU.
_base_ = ['spikingresformer_s_cifar10.py']

model = dict(num_classes=100)
data_preprocessor = dict(num_classes=100, mean=[129.3, 124.1, 112.4], std=[68.2, 65.4, 70.4])
train_pipeline = _base_.train_pipeline
train_pipeline[3].hparams.pad_val = [112, 124, 129]
train_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
test_dataloader = val_dataloader
max_epochs = 150
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=4),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=max_epochs),
]
train_cfg = dict(max_epochs=max_epochs)
