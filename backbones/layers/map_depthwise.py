"""Depthwise convolutions of maps with channels last, alone and beside the map itself.

One meaning, two ways to run it: as torch's convolution, and on a processor, for wide kernels, with a gradient of its
own, since oneDNN has none that is fast.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .conv_norm import require_eval
from .depthwise import COLUMNS, depthwise_kernel_grad
from .parts import may_run_in_parts
from .precision import is_autocast

__all__ = ['MapDepthwise', 'ResidualDepthwise', 'convolve_map', 'convolve_map_grads', 'map_depthwise']


def map_depthwise(x: torch.Tensor, kernels: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Depthwise convolution with zeros around the map; how it runs is chosen by device, type and by tracing.

    Args:
        x: Map (B, H, W, C).
        kernels: (C, 1, K, K), K odd.
        bias: (C).

    Returns:
        Map (B, H, W, C).
    """
    if may_run_in_parts(x, kernels, bias) and kernels.shape[-1] > COLUMNS:
        return _WideKernels.apply(x, kernels, bias)
    return convolve_map(x, kernels, bias)


def convolve_map(x: torch.Tensor, kernels: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """The same as torch's convolution."""
    y = F.conv2d(x.permute(0, 3, 1, 2), kernels, bias, padding=kernels.shape[-1] // 2, groups=kernels.shape[0])
    return y.permute(0, 2, 3, 1)


def convolve_map_grads(
    x: torch.Tensor, kernels: torch.Tensor, above: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients by the map, the kernels and the bias, for the gradient `above` (B, H, W, C) of the outcome."""
    side, channels = kernels.shape[-1], kernels.shape[0]
    wide = side > COLUMNS
    first, second = x.permute(0, 3, 1, 2), above.contiguous().permute(0, 3, 1, 2)
    geometry = ([1, 1], [side // 2] * 2, [1, 1], False, [0, 0], channels)
    found = torch.ops.aten.convolution_backward(
        second, first, kernels, [channels], *geometry, [True, not wide, not wide]
    )
    d_x = found[0].permute(0, 2, 3, 1)
    if wide:
        return d_x, depthwise_kernel_grad(first, second, side), above.sum((0, 1, 2))
    return d_x, found[1], found[2]


class _WideKernels(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: torch.Tensor, kernels: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, kernels, bias)
        return convolve_map(x, kernels, bias)

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x, kernels, bias = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            return torch.autograd.grad(convolve_map(x, kernels, bias), (x, kernels, bias), grad, create_graph=True)
        return convolve_map_grads(x, kernels, grad)


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
        assert self.bias is not None
        return map_depthwise(x, self.kernels(), self.bias)

    def kernels(self) -> torch.Tensor:
        """Kernels (C, 1, K, K) of the convolution that is run."""
        return self.weight


class ResidualDepthwise(MapDepthwise):
    """A map and its depthwise convolution.

    y = x + DW(x)

    In full precision both are one convolution, with a one added in the middle of each kernel.

    Shape:
        (B, H, W, C) -> (B, H, W, C)
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if _is_narrow(x):  # a one would round the rest of the kernel away
            return x + convolve_map(x, self.weight, self.bias).to(x.dtype)
        return super().forward(x)

    def kernels(self) -> torch.Tensor:
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
    return x.dtype.itemsize < 4 or is_autocast(x)
