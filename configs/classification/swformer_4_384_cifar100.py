# SWformer-4-384 on CIFAR-100 at 32x32, as published.
#   python tools/train.py configs/classification/swformer_4_384_cifar100.py --amp
# Expected on the test split: top-1 79.3 (Fang et al., SWformer, arXiv 2403.11138). Not rerun here.
# Needs data/cifar100, laid out as data/cifar10 is. 128 pictures on one GPU.
_base_ = ['swformer_4_384_cifar10.py']

model = dict(model_name='swformer_4_384_cifar100', num_classes=100)
data_preprocessor = dict(num_classes=100, mean=[129.3105, 124.1085, 112.404], std=[68.2125, 65.4075, 70.4055])
train_pipeline = _base_.train_pipeline
train_pipeline[3].fill_color = [112.404, 124.1085, 129.3105]  # the mean, which is zero once the picture is normalised
for policy in train_pipeline[2].policies[1:]:
    policy.pad_val = [112, 124, 129]
del policy
train_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
test_dataloader = val_dataloader
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-5 / 1.5e-3, by_epoch=True, begin=0, end=21),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=400),
    dict(type='ConstantLR', factor=1.0, by_epoch=True, begin=400, end=410),
]
