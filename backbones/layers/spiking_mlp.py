"""Channel mixers of spiking networks."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .conv_norm import ConvNorm
from .spiking import Neuron

__all__ = ['SpikingMlp']


class SpikingMlp(nn.Module):
    """Two pointwise convolutions with batch normalisation, and a neuron in front of each or behind each.

    y = BN(W_2 neuron(BN(W_1 neuron(x))))     (`first`: what is added to the map is a membrane)
    y = neuron(BN(W_2 neuron(BN(W_1 x))))     (else: spikes are added)

    Args:
        dim: Channels.
        hidden_dim: Channels between the convolutions.
        neuron: Makes a neuron.
        first: Whether neurons stand in front of the convolutions.
        bias: Whether the convolutions have biases.

    Shape:
        (T * B, C, H, W) -> (T * B, C, H, W)
    """

    def __init__(
        self, dim: int, hidden_dim: int, neuron: Callable[..., Neuron], first: bool, bias: bool = True, **dd: Any
    ) -> None:
        super().__init__()
        self.first = first
        self.fc1, self.neuron1 = ConvNorm(dim, hidden_dim, bias=bias, **dd), neuron()
        self.fc2, self.neuron2 = ConvNorm(hidden_dim, dim, bias=bias, **dd), neuron()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.first:
            return self.fc2(self.neuron2(self.fc1(self.neuron1(x))))
        return self.neuron2(self.fc2(self.neuron1(self.fc1(x))))
