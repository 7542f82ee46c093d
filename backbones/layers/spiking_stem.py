"""What tokenizers of spiking networks are chains of: convolution, batch normalisation, neuron, and a pooling."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from .conv_norm import ConvNorm
from .max_pool import MaxPool
from .spiking import Neuron, Repeat

__all__ = ['SpikingConv']


class SpikingConv(nn.Module):
    """Convolution with batch normalisation, then a neuron, with a pooling of 3 x 3 to half the size next to it.

    y = neuron(BN(W * x))
    y = pool(neuron(BN(W * x)))     (`pool='spikes'`)
    y = neuron(pool(BN(W * x)))     (`pool='membrane'`)

    The first of a network sees the same image at every step. Given a `Repeat`, it convolves the image once and shows
    the neuron the result T times. Batch statistics are those of the repeated batch; the running variance grows by
    another unbiased factor, n / (n - 1) of n positions of the batch, which is the only difference.

    Args:
        in_chs: Channels of the input.
        out_chs: Channels of the output.
        neuron: Makes a neuron.
        kernel_size: Side of the kernel in pixels.
        pool: What is pooled, spikes or the input of the neuron, if anything.
        repeat: Turns what is constant in time into T steps, in front of the neuron.

    Shape:
        (T * B, in_chs, H, W), or (B, in_chs, H, W) with `repeat` -> (T * B, out_chs, H, W), or
        (T * B, out_chs, ceil(H / 2), ceil(W / 2)) with `pool`.
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        neuron: Callable[..., Neuron],
        kernel_size: int = 3,
        pool: Literal['spikes', 'membrane'] | None = None,
        repeat: Repeat | None = None,
        **dd: Any,
    ) -> None:
        super().__init__()
        self.conv = ConvNorm(in_chs, out_chs, kernel_size, **dd)
        self.neuron = neuron()
        self.pool = MaxPool() if pool else nn.Identity()
        self.repeat = repeat if repeat else nn.Identity()
        self.pool_first = pool == 'membrane'

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        if self.pool_first:
            return self.neuron(self.repeat(self.pool(x)))
        return self.pool(self.neuron(self.repeat(x)))
