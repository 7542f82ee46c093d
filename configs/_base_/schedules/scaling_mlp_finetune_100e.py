"""100 epochs of SGD at a batch of 2048 on one GPU: the fine-tuning of Scaling-MLP from its ImageNet-21k weights.

The rate is constant: 0.01 for the new classifier and a tenth of it for everything before. Nothing decays: the official
script takes a weight decay and does not pass it on.
"""

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9),
    paramwise_cfg=dict(custom_keys={'model.stem': dict(lr_mult=0.1), 'model.stages': dict(lr_mult=0.1)}),
    clip_grad=dict(max_norm=1.0),
)
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=2048)
