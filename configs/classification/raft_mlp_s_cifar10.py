# RaftMLP-S on CIFAR-10 at 64x64, from scratch, as lsnet_t_cifar10.py.
#   python tools/train.py configs/classification/raft_mlp_s_cifar10.py
# Expected: not measured to the end; a shorter run gave top-1 79.90 after nine epochs
# (docs/benchmarks.md, 8-bit integers).
# Needs data/cifar10.
_base_ = ['lsnet_t_cifar10.py']

model = dict(model_name='raft_mlp_s')
