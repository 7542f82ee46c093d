"""The two-layer perceptron with a depthwise convolution between its layers, behind a layer normalisation."""

import copy
from typing import Any

import torch
from torch import nn

from .conv_mlp_parts import conv_mlp_in_parts, fits_conv_parts
from .conv_norm import require_eval
from .mlp import fold_affine

__all__ = ['NormConvMlp']


class NormConvMlp(nn.Module):
    """Channel mixer that sees the eight neighbours of a position, and so tells positions apart.

    y = W_2 GELU(DW_3(W_1 LN(x) + b_1)) + b_2

    Args:
        dim: Channels of the input and the output.
        hidden: Channels between the linear layers.
        eps: Added to the variance.

    Shape:
        (B, H, W, dim) -> (B, H, W, dim)

    Source: PVT v2, arXiv 2106.13797, section 3.3.
    """

    def __init__(self, dim: int, hidden: int, eps: float = 1e-5, device=None, dtype=None) -> None:
        super().__init__()
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.norm = nn.LayerNorm(dim, eps, **dd)
        self.fc1 = nn.Linear(dim, hidden, **dd)
        self.spatial = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, **dd)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if fits_conv_parts(x, self.norm, self.fc1, self.spatial, self.act, self.fc2):
            return conv_mlp_in_parts(x, self.norm, self.fc1, self.spatial, self.fc2)
        x = self.fc1(self.norm(x)).permute(0, 3, 1, 2)  # B H W C -> B C H W
        x = self.act(self.spatial(x))
        return self.fc2(x.permute(0, 2, 3, 1))

    def fuse(self) -> 'NormConvMlp':
        """The same with the norm's weight and bias inside the first linear layer."""
        require_eval(self)
        fused = copy.deepcopy(self)
        fused.norm, fused.fc1 = fold_affine(self.norm, self.fc1)
        return fused
