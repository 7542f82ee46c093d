"""Convolutions of single positions."""

import torch
from torch import nn

from .onednn import linear

__all__ = ['Pointwise']


class Pointwise(nn.Conv2d):
    """A 1 x 1 convolution that runs as a linear layer where channels are last.

    y = W x + b at every position

    torch decides by batch and size whether oneDNN convolves, and falls back to slow code for one small image.

    Shape:
        (B, in_chs, H, W) -> (B, out_chs, H, W)
    """

    def __init__(self, in_chs: int, out_chs: int, device=None, dtype=None) -> None:
        super().__init__(in_chs, out_chs, 1, device=device, dtype=dtype)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        if torch.compiler.is_compiling() or not input.is_contiguous(memory_format=torch.channels_last):
            return super().forward(input)
        assert self.bias is not None
        rows = input.permute(0, 2, 3, 1)  # B H W C
        y = linear(rows.flatten(0, 2), self.weight.flatten(1), self.bias)
        return y.view(*rows.shape[:3], -1).permute(0, 3, 1, 2)
