# The network of max_former_cifar10_18e.py with ReLU in place of spikes and without time: what spikes cost.
#   python tools/train.py configs/classification/max_former_cifar10_18e_relu.py  # long
# Expected: not measured to the end; docs/spiking.md has the curve of its first twelve epochs.
# Needs data/cifar10.
_base_ = ['max_former_cifar10_18e.py']

model = dict(neuron='relu', num_steps=1)
