"""Convolutions of single positions."""

import torch
from torch import nn

from .onednn import linear

__all__ = ['Pointwise']


class Pointwise(nn.Conv2d):
    """A 1 x 1 convolution, behind factors of its input's channels if there are any, that runs as linear layer.

    y = W x + b at every position

    torch decides by batch and size whether oneDNN convolves, and falls back to slow code for one small image.

    Shape:
        (B, in_chs, H, W) -> (B, out_chs, H, W)
    """

    def __init__(self, in_chs: int, out_chs: int, device=None, dtype=None) -> None:
        super().__init__(in_chs, out_chs, 1, device=device, dtype=dtype)

    def forward(self, x: torch.Tensor, gate: torch.Tensor | None = None) -> torch.Tensor:
        """W (g x) + b, for a map x and, where they are given, factors g of its channels, (B, in_chs)."""
        if torch.compiler.is_compiling() or not x.is_contiguous(memory_format=torch.channels_last):
            return super().forward(x if gate is None else x * gate[:, :, None, None])
        assert self.bias is not None
        weight = self.weight.flatten(1)
        if gate is not None and len(x) == 1:
            weight = weight * gate  # which is smaller than the map
        elif gate is not None:
            x = x * gate[:, :, None, None]
        rows = x.permute(0, 2, 3, 1)  # B H W C
        y = linear(rows.flatten(0, 2), weight, self.bias)
        return y.view(*rows.shape[:3], -1).permute(0, 3, 1, 2)
