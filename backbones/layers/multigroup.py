"""1 x 1 convolutions with several numbers of groups, trained side by side and deployed as one."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .conv_norm import ConvNorm, require_eval

__all__ = ['MultiGroupConv']


class MultiGroupConv(nn.Module):
    """Sum of 1 x 1 convolutions of the same map, each with its own number of groups and its own normalisation.

    y = sum over g of BN_g(W_g * x);  W_g mixes channels inside of g equal groups, W_1 mixes them all

    With fixed statistics that is one matrix, W = sum of scale_g blockdiag(W_g), so that evaluation adds the weights
    up and convolves once. In training each branch has statistics of its own. Normalisations start with the weight
    1 / sqrt(number of branches), which gives the sum the variance of one.

    Args:
        in_chs: Channels of the input.
        out_chs: Channels of the output.
        groups: Numbers of groups, one for each branch.

    Shape:
        (B, in_chs, H, W) -> (B, out_chs, H, W)

    Raises:
        ValueError: A number of groups that does not divide the channels, or none at all.
    """

    def __init__(self, in_chs: int, out_chs: int, groups: Sequence[int] = (1, 2, 4), device=None, dtype=None) -> None:
        super().__init__()
        if not groups or any(g < 1 or in_chs % g or out_chs % g for g in groups):
            raise ValueError(
                f'Each number of groups must divide {in_chs} channels of the input and {out_chs} of the output, but '
                f'got groups={tuple(groups)}: give others, or other widths.'
            )
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.branches: Any = nn.ModuleList(ConvNorm(in_chs, out_chs, groups=g, **dd) for g in groups)
        for branch in self.branches:
            nn.init.constant_(branch.norm.weight, len(groups) ** -0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if all(_is_fixed(branch.norm) for branch in self.branches):
            weight, bias = self.merged(torch.promote_types(self.branches[0].conv.weight.dtype, torch.float32))
            return F.conv2d(x, weight[:, :, None, None].to(x.dtype), bias.to(x.dtype))
        first, *others = self.branches
        y = first(x)
        for branch in others:
            y = y + branch(x)
        return y

    def merged(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight (out, in) and bias (out) of the one convolution that the branches are with fixed statistics."""
        total: Any = (0, 0)
        for branch in self.branches:
            norm, groups = branch.norm, branch.conv.groups
            scale = norm.weight.to(dtype) * (norm.running_var.to(dtype) + norm.eps).rsqrt()
            weight = branch.conv.weight.flatten(1).to(dtype) * scale[:, None]  # out in/g
            weight = weight if groups == 1 else torch.block_diag(*weight.chunk(groups))  # out in
            total = total[0] + weight, total[1] + norm.bias.to(dtype) - norm.running_mean.to(dtype) * scale
        return total

    @torch.no_grad()
    def fuse(self) -> nn.Conv2d:
        """One convolution with a bias that computes the same."""
        require_eval(self)
        weight, bias = self.merged(torch.float64)
        like = self.branches[0].conv.weight
        fused = nn.Conv2d(weight.shape[1], weight.shape[0], 1, device=like.device, dtype=like.dtype).eval()
        fused.weight.copy_(weight[:, :, None, None])
        fused.bias.copy_(bias)  # type: ignore[union-attr]
        return fused


def _is_fixed(norm: nn.Module) -> bool:
    """Whether a normalisation is a scale and shift that the batch has no part in."""
    return not norm.training and getattr(norm, 'running_mean', None) is not None
