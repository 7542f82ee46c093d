# Spikformer with experts on CIFAR-100 at 32x32, as published.
#   python tools/train.py configs/classification/spikf_semm_cifar100.py --amp
# Expected on the test split: top-1 77.59 (STEP, arXiv 2505.11151; the paper has 79.04). Not rerun here.
# Needs data/cifar100, laid out as data/cifar10 is. 128 pictures on one GPU.
_base_ = ['spikf_semm_cifar10.py']

model = dict(model_name='spikf_semm_cifar100', num_classes=100)
data_preprocessor = dict(num_classes=100)
train_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
val_dataloader = dict(dataset=dict(data_root='data/cifar100/', classes=None))
test_dataloader = val_dataloader
