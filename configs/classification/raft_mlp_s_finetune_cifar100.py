# RaftMLP-S, trained on ImageNet-1K, fine-tuned on CIFAR-100 at 224x224, as published.
#   python tools/train.py configs/classification/raft_mlp_s_finetune_cifar100.py --init raft_mlp_s_imagenet.pth
# Expected: published in a table of the paper (arXiv 2108.04384) that could not be read here. Not rerun here.
# Needs data/cifar100, laid out as data/cifar10 is, and the file of an ImageNet training (raft_mlp_s_imagenet.py).
_base_ = ['raft_mlp_s_finetune_cifar10.py']

model = dict(num_classes=100)
data_preprocessor = dict(num_classes=100, mean=[129.285, 124.185, 112.455], std=[68.085, 65.28, 70.38])
train_pipeline = _base_.train_pipeline
train_pipeline[5].hparams.pad_val = [112, 124, 129]  # the mean
train_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
test_dataloader = val_dataloader
