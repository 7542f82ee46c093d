"""Normalisation of a whole map, all of its channels and positions together."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .precision import widened

__all__ = ['MapNorm']


class MapNorm(nn.GroupNorm):
    """Group normalisation with one group: a mean and a variance for each image.

    y = gamma_c (x - E[x]) / sqrt(Var[x] + eps) + beta_c,  E and Var over channels, rows and columns

    timm's GroupNorm1 calls torch's operator alone, which asks about sizes that an exported program leaves free.

    Args:
        channels: Channels of the map.
        eps: Added to the variance.

    Shape:
        (B, C, H, W) -> (B, C, H, W), in the type of the input also where autocast would widen it.
    """

    def __init__(self, channels: int, eps: float = 1e-5, device=None, dtype=None) -> None:
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        super().__init__(1, channels, eps, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_exporting():
            if torch.is_grad_enabled() and not x.requires_grad:
                x = x.contiguous()  # where channels are last and the input needs no gradient, torch 2.12 crashes
            return F.group_norm(x, 1, self.weight, self.bias, self.eps).to(x.dtype)
        y = widened(x)
        y = y - y.mean((1, 2, 3), keepdim=True)
        y = y * (y.square().mean((1, 2, 3), keepdim=True) + self.eps).rsqrt()
        return (y * self.weight[:, None, None] + self.bias[:, None, None]).to(x.dtype)
