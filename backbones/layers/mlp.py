"""The two-layer perceptron behind a layer normalisation, over the last axis, and how a norm's affine map goes away."""

import copy
from typing import Any

import torch
from torch import nn

from .conv_norm import require_eval
from .mlp_parts import fits_parts, mlp_in_parts

__all__ = ['NormMlp', 'fold_affine']


@torch.no_grad()
def fold_affine(norm: nn.LayerNorm, linear: nn.Linear) -> tuple[nn.LayerNorm, nn.Linear]:
    """A norm without weight and bias, and a linear layer that holds them: together they equal `linear(norm(x))`.

    W' = W diag(gamma);  b' = b + W beta, computed in float64. Both are new; type and device are kept.

    Args:
        norm: Normalisation over the last axis, in evaluation mode.
        linear: Layer that takes its output, and nobody else does.
    """
    require_eval(norm)
    plain = nn.LayerNorm(list(norm.normalized_shape), norm.eps, elementwise_affine=False).eval()
    folded = copy.deepcopy(linear).eval()
    weight = linear.weight.double()
    if norm.bias is not None:
        shift = weight @ norm.bias.double()
        shift = shift if linear.bias is None else linear.bias.double() + shift
        folded.bias = nn.Parameter(shift.to(linear.weight.dtype), linear.weight.requires_grad)
    if norm.weight is not None:
        folded.weight.copy_(weight * norm.weight.double())
    return plain, folded


class NormMlp(nn.Module):
    """Channel mixer of most mixers: layer normalisation, then two linear layers with a GELU between them.

    y = W_2 GELU(W_1 LN(x) + b_1) + b_2

    timm's Mlp has no norm of its own, so that nobody could fold it.

    Args:
        dim: Channels of the input and the output.
        hidden: Channels between the linear layers.
        eps: Added to the variance.

    Shape:
        (..., dim) -> (..., dim)

    Source: MLP-Mixer, arXiv 2105.01601, equation 1.
    """

    def __init__(self, dim: int, hidden: int, eps: float = 1e-5, device=None, dtype=None) -> None:
        super().__init__()
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.norm = nn.LayerNorm(dim, eps, **dd)
        self.fc1 = nn.Linear(dim, hidden, **dd)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if fits_parts(x, self.norm, self.fc1, self.act, self.fc2):
            return mlp_in_parts(x, self.norm, self.fc1, self.fc2)
        return self.fc2(self.act(self.fc1(self.norm(x))))

    def fuse(self) -> 'NormMlp':
        """The same with the norm's weight and bias inside the first linear layer."""
        require_eval(self)
        fused = copy.deepcopy(self)
        fused.norm, fused.fc1 = fold_affine(self.norm, self.fc1)
        return fused
