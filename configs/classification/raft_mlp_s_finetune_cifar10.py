# RaftMLP-S, trained on ImageNet-1K, fine-tuned on CIFAR-10 at 224x224, as published.
#   python tools/train.py configs/classification/raft_mlp_s_finetune_cifar10.py --init raft_mlp_s_imagenet.pth
# Expected: published in a table of the paper (arXiv 2108.04384) that could not be read here. Not rerun here.
# Needs data/cifar10 and the file of an ImageNet training (raft_mlp_s_imagenet.py), since the authors' are not public.
# 256 pictures on one GPU. Flowers-102, Stanford Cars and iNaturalist have the same recipe and no config here.
# Differs: as raft_mlp_s_imagenet.py, in Mixup, CutMix and RandAugment.
_base_ = ['raft_mlp_cifar10.py']

model = dict(model_name='raft_mlp_s', drop_path_rate=0.0)
resize = dict(type='Resize', scale=224, interpolation='bilinear', backend='pillow')
train_pipeline = [
    *_base_.train_pipeline[:2],
    resize,
    *[step for step in _base_.train_pipeline[2:] if step['type'] != 'RandomErasing'],
]
test_pipeline = [dict(type='LoadImageFromFile'), resize, dict(type='PackInputs')]
train_dataloader = dict(batch_size=256, num_workers=10, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=256, num_workers=10, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=10, end=50, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=50)
auto_scale_lr = dict(base_batch_size=256)
