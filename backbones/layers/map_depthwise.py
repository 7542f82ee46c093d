"""Depthwise convolutions of maps with channels last, alone and beside the map itself."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .conv_norm import require_eval

__all__ = ['MapDepthwise', 'ResidualDepthwise']


class MapDepthwise(nn.Conv2d):
    """Depthwise convolution with a bias, and zeros around the map.

    Args:
        dim: Channels C.
        side: Side of the kernels in positions, odd.

    Shape:
        (B, H, W, C) -> (B, H, W, C)
    """

    def __init__(self, dim: int, side: int, device=None, dtype=None) -> None:
        super().__init__(dim, dim, side, padding=side // 2, groups=dim, device=device, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ResidualDepthwise(MapDepthwise):
    """A map and its depthwise convolution.

    y = x + DW(x)

    In full precision both are one convolution, with a one added in the middle of each kernel.

    Shape:
        (B, H, W, C) -> (B, H, W, C)
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if _is_narrow(x):  # a one would round the rest of the kernel away
            return x + super().forward(x).to(x.dtype)
        y = F.conv2d(x.permute(0, 3, 1, 2), self.kernels(), self.bias, padding=self.padding, groups=self.groups)
        return y.permute(0, 2, 3, 1)

    def kernels(self) -> torch.Tensor:
        """Kernels (C, 1, K, K) of the sum."""
        pad: Any = self.padding[0]
        return self.weight + F.pad(self.weight.new_ones(1, 1, 1, 1), (pad,) * 4)

    @torch.no_grad()
    def fuse(self) -> MapDepthwise:
        """One convolution that computes the same."""
        require_eval(self)
        weight = self.weight
        fused = MapDepthwise(self.groups, self.kernel_size[0], device=weight.device, dtype=weight.dtype).eval()
        fused.weight.copy_(self.kernels())
        assert fused.bias is not None and self.bias is not None
        fused.bias.copy_(self.bias)
        return fused


def _is_narrow(x: torch.Tensor) -> bool:
    """Whether the map is, or autocast makes it, less precise than float32."""
    kind = x.device.type
    return x.dtype.itemsize < 4 or (kind != 'meta' and torch.is_autocast_enabled(kind))
