# AFFNet-ET on CIFAR-10 at 64x64, from scratch, as lsnet_t_cifar10.py.
#   python tools/train.py configs/classification/affnet_et_cifar10.py
# Expected: not measured to the end; a shorter run gave top-1 77.05 after eight epochs
# (docs/benchmarks.md, 8-bit integers).
# Needs data/cifar10.
_base_ = ['lsnet_t_cifar10.py']

model = dict(model_name='affnet_et')
