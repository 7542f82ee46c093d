"""The two-layer perceptron of a map with a residual depthwise convolution between its layers."""

import copy
from typing import Any

import torch
from torch import nn

from .conv_norm import require_eval
from .map_depthwise import ResidualDepthwise
from .mlp import fold_affine

__all__ = ['NormDepthwiseMlp']


class NormDepthwiseMlp(nn.Module):
    """Channel mixer that sees the eight neighbours of a position.

    h = W_1 LN(x) + b_1;  y = W_2 GELU(h + DW_3(h)) + b_2

    Args:
        dim: Channels of the input and the output.
        hidden: Channels between the linear layers.
        eps: Added to the variance.

    Shape:
        (B, H, W, dim) -> (B, H, W, dim)
    """

    def __init__(self, dim: int, hidden: int, eps: float = 1e-5, device=None, dtype=None) -> None:
        super().__init__()
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.norm = nn.LayerNorm(dim, eps, **dd)
        self.fc1 = nn.Linear(dim, hidden, **dd)
        self.spatial: nn.Module = ResidualDepthwise(hidden, 3, **dd)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.act(self.spatial(self.fc1(self.norm(x)))))

    def fuse(self) -> 'NormDepthwiseMlp':
        """The same with one convolution, and the norm's weight and bias inside the first linear layer."""
        require_eval(self)
        fused = copy.deepcopy(self)
        fused.norm, fused.fc1 = fold_affine(self.norm, self.fc1)
        if isinstance(self.spatial, ResidualDepthwise):
            fused.spatial = self.spatial.fuse()
        return fused
