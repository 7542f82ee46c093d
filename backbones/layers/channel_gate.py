"""A factor for each channel of a map, made of the means of all."""

from typing import Any

import torch
from torch import nn

__all__ = ['ChannelGate']


class ChannelGate(nn.Module):
    """The factors of squeeze and excitation.

    g = sigmoid(W_2 relu(W_1 mean(x)))

    timm's SqueezeExcite has convolutions, which are slow for a single position, and multiplies.

    Args:
        dim: Channels C.
        squeezed: Width between the linear layers.

    Shape:
        (B, C, H, W) -> (B, C)

    Source: Squeeze-and-Excitation Networks, arXiv 1709.01507, equation 3.
    """

    def __init__(self, dim: int, squeezed: int, device=None, dtype=None) -> None:
        super().__init__()
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.squeeze = nn.Linear(dim, squeezed, **dd)
        self.expand = nn.Linear(squeezed, dim, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.expand(self.squeeze(x.mean((2, 3))).relu()).sigmoid()
