"""Classifier heads on pooled features."""

import copy
from typing import Any

import torch
from timm.layers import trunc_normal_
from torch import nn

from .conv_norm import batch_norm_affine, require_eval
from .mlp import fold_affine

__all__ = ['DistilledHead', 'LayerNormLinear', 'NormLinear']


class NormLinear(nn.Module):
    """Batch normalisation, then a linear map.

    y = W BN(x) + b

    Shape:
        (B, in_features) -> (B, out_features)

    Source: LeViT, arXiv 2104.01136, section 4.1.
    """

    def __init__(self, in_features: int, out_features: int, device=None, dtype=None) -> None:
        super().__init__()
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.norm = nn.BatchNorm1d(in_features, **dd)
        self.linear = nn.Linear(in_features, out_features, **dd)
        trunc_normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(x))

    @torch.no_grad()
    def fuse(self) -> nn.Linear:
        """One linear map that computes the same."""
        require_eval(self)
        scale, shift = batch_norm_affine(self.norm)
        weight = self.linear.weight.double()
        return _linear(weight * scale, weight @ shift + self.linear.bias.double(), like=self.linear)


class LayerNormLinear(nn.Module):
    """Layer normalisation of the pooled features, then a linear map.

    y = W LN(x) + b

    Args:
        in_features: Width of the input.
        out_features: Width of the output.
        eps: Added to the variance.

    Shape:
        (B, in_features) -> (B, out_features)
    """

    def __init__(self, in_features: int, out_features: int, eps: float = 1e-5, device=None, dtype=None) -> None:
        super().__init__()
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.norm = nn.LayerNorm(in_features, eps, **dd)
        self.linear = nn.Linear(in_features, out_features, **dd)
        trunc_normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(x))

    def fuse(self) -> 'LayerNormLinear':
        """The same with the norm's weight and bias inside the linear map."""
        require_eval(self)
        fused = copy.deepcopy(self)
        fused.norm, fused.linear = fold_affine(self.norm, self.linear)
        return fused


class DistilledHead(nn.Module):
    """A head for the labels and one for a teacher's, averaged.

    y = (cls(x) + dist(x)) / 2

    Set `distilled_training` (as timm's `set_distilled_training` does) to get both outputs while training.

    Shape:
        (B, in_features) -> (B, out_features), or a pair of them

    Source: DeiT, arXiv 2012.12877, section 4.
    """

    def __init__(self, in_features: int, out_features: int, device=None, dtype=None) -> None:
        super().__init__()
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.cls = NormLinear(in_features, out_features, **dd)
        self.dist = NormLinear(in_features, out_features, **dd)
        self.distilled_training = False

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        cls, dist = self.cls(x), self.dist(x)
        return (cls, dist) if self.training and self.distilled_training else (cls + dist) / 2

    @torch.no_grad()
    def fuse(self) -> nn.Linear:
        """One linear map: the mean of the two fused heads."""
        require_eval(self)
        cls, dist = self.cls.fuse(), self.dist.fuse()
        weight = (cls.weight.double() + dist.weight.double()) / 2
        return _linear(weight, (cls.bias.double() + dist.bias.double()) / 2, like=cls)


def _linear(weight: torch.Tensor, bias: torch.Tensor, like: nn.Linear) -> nn.Linear:
    """A linear layer with these values, of the type and on the device of `like`."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], device=like.weight.device, dtype=like.weight.dtype).eval()
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)
    return linear
