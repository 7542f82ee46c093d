# Spike-driven Transformer 2-256 on CIFAR-100 at 32x32, as published, in float32.
#   python tools/train.py configs/classification/sdt_2_256_cifar100.py
# Expected: not published.
# Needs data/cifar100, laid out as data/cifar10 is. 64 pictures on one GPU.
_base_ = ['sdt_2_512_cifar100.py']

model = dict(model_name='sdt_2_256_cifar100')
