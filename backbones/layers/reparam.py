"""Parallel linear branches that are trained apart and deployed as one convolution."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .conv_norm import ConvNorm, require_eval

__all__ = ['RepDepthwise']


class RepDepthwise(nn.Module):
    """Depthwise K x K and 1 x 1 branches beside the identity.

    y = BN(W_K * x) + BN(W_1 * x) + x

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: RepVGG, arXiv 2101.03697, section 3.3, with depthwise kernels.
    """

    def __init__(self, dim: int, kernel_size: int = 3, device=None, dtype=None) -> None:
        super().__init__()
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.conv = ConvNorm(dim, dim, kernel_size, groups=dim, **dd)
        self.point = ConvNorm(dim, dim, 1, groups=dim, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + self.point(x) + x

    @torch.no_grad()
    def fuse(self) -> nn.Conv2d:
        """One depthwise convolution: the 1 x 1 kernel and the identity are added at the centre of the large one."""
        require_eval(self)
        fused, point = self.conv.fuse(), self.point.fuse()
        assert fused.bias is not None
        assert point.bias is not None
        border = fused.kernel_size[0] // 2
        fused.weight += F.pad(point.weight + 1, (border,) * 4)
        fused.bias += point.bias
        return fused
