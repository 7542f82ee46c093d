# max_former_cifar10_short.py for a GPU: 18 epochs at a batch of 256.
#   python tools/train.py configs/classification/max_former_cifar10_18e.py  # long
# Expected on the test split: top-1 78.6 to 78.9; its curve and that of the network with ReLU: docs/spiking.md.
# Needs data/cifar10.
_base_ = ['max_former_cifar10_short.py']

train_dataloader = dict(batch_size=256, num_workers=4)
val_dataloader = dict(batch_size=500, num_workers=4)
test_dataloader = val_dataloader

max_epochs = 18
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=256)
