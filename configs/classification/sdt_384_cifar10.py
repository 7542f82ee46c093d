# STEP's Spike-driven Transformer 2-384 on CIFAR-10 at 32x32, by the recipe of its 2-512, in float32.
#   python tools/train.py configs/classification/sdt_384_cifar10.py
# Expected: not published.
# Needs data/cifar10. 128 pictures on one GPU.
_base_ = ['sdt_cifar10.py']

model = dict(model_name='sdt_cifar_384')
