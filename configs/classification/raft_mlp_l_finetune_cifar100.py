# RaftMLP-L, trained on ImageNet-1K, fine-tuned on CIFAR-100 at 224x224, as published.
#   python tools/train.py configs/classification/raft_mlp_l_finetune_cifar100.py --init raft_mlp_l_imagenet.pth
# Expected: published in a table of the paper (arXiv 2108.04384) that could not be read here. Not rerun here.
# Needs data/cifar100, laid out as data/cifar10 is, and the file of an ImageNet training (raft_mlp_l_imagenet.py).
_base_ = ['raft_mlp_s_finetune_cifar100.py']

model = dict(model_name='raft_mlp_l')
