# The network of max_former_cifar10_short.py with ReLU in place of spikes and without time: what spikes cost.
#   python tools/train.py configs/classification/max_former_cifar10_short_relu.py  # long
# Expected: top-1 77.94 after three epochs: docs/spiking.md.
# Needs data/cifar10.
_base_ = ['max_former_cifar10_short.py']

model = dict(neuron='relu', num_steps=1)
