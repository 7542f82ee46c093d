# Scaling-MLP of 6 blocks, 512 wide, ImageNet-21k weights fine-tuned on CIFAR-100 at 64x64, as published.
#   python tools/train.py configs/classification/scaling_mlp_b_6_wi_512_cifar100.py
# Expected on the test split: top-1 71.2 (Bachmann et al., Scaling MLPs, arXiv 2306.13575). Not rerun here.
# The mean and deviation are those of CIFAR-10, as published.
# Needs data/cifar100, laid out as data/cifar10 is, and the ImageNet-21k weights as
# checkpoints/scaling_mlp_b_6_wi_512_in21k.pth (drive.google.com, id 1QV3a99UT8llfh9zDDuNKWDH_5c6S_YT5).
# 2048 pictures on one GPU.
_base_ = ['scaling_mlp_b_6_wi_512_cifar10.py']

model = dict(num_classes=100)
data_preprocessor = dict(num_classes=100)
train_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
val_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
test_dataloader = val_dataloader
