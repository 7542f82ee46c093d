# Spike-driven Transformer 2-256 on CIFAR-10 at 32x32, as published, in float32.
#   python tools/train.py configs/classification/sdt_2_256_cifar10.py
# Expected: not published.
# Needs data/cifar10. 64 pictures on one GPU.
_base_ = ['sdt_2_512_cifar10.py']

model = dict(model_name='sdt_2_256_cifar')
