# The network of max_former_cifar10_18e.py with ReLU in place of spikes and without time: what spikes cost.
#   python tools/train.py configs/classification/max_former_cifar10_18e_relu.py  # long
# Expected on the test split: top-1 85.8; docs/spiking.md has its curve.
# Needs data/cifar10.
_base_ = ['max_former_cifar10_18e.py']

model = dict(neuron='relu', num_steps=1)
