"""The two-layer perceptron with a depthwise convolution between its layers, behind a layer normalisation."""

import copy
from typing import Any

import torch
from torch import nn

from .conv_mlp_parts import conv_mlp_in_parts, fits_conv_parts
from .conv_norm import require_eval
from .map_depthwise import MapDepthwise, ResidualDepthwise
from .mlp import fold_affine

__all__ = ['NormConvMlp']


class NormConvMlp(nn.Module):
    """Channel mixer that sees the eight neighbours of a position, and so tells positions apart.

    h = W_1 LN(x) + b_1;  y = W_2 GELU(DW_3(h)) + b_2,  or  y = W_2 GELU(h + DW_3(h)) + b_2

    Args:
        dim: Channels of the input and the output.
        hidden: Channels between the linear layers.
        eps: Added to the variance.
        residual: Whether the convolution is added to what it takes.

    Shape:
        (B, H, W, dim) -> (B, H, W, dim)

    Source: PVT v2, arXiv 2106.13797, section 3.3.
    """

    def __init__(
        self, dim: int, hidden: int, eps: float = 1e-5, residual: bool = False, device=None, dtype=None
    ) -> None:
        super().__init__()
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.norm = nn.LayerNorm(dim, eps, **dd)
        self.fc1 = nn.Linear(dim, hidden, **dd)
        self.spatial: MapDepthwise = (ResidualDepthwise if residual else MapDepthwise)(hidden, 3, **dd)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if fits_conv_parts(x, self.norm, self.fc1, self.spatial, self.act, self.fc2):
            return conv_mlp_in_parts(x, self.norm, self.fc1, self.spatial, self.fc2)
        return self.fc2(self.act(self.spatial(self.fc1(self.norm(x)))))

    def fuse(self) -> 'NormConvMlp':
        """The same with one convolution, and the norm's weight and bias inside the first linear layer."""
        require_eval(self)
        fused = copy.deepcopy(self)
        fused.norm, fused.fc1 = fold_affine(self.norm, self.fc1)
        if isinstance(self.spatial, ResidualDepthwise):
            fused.spatial = self.spatial.fuse()
        return fused
