"""The gradient of a depthwise convolution by its kernels, made fast on a processor."""

from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.grad import conv2d_weight

__all__ = ['depthwise_kernel_grad']

COLUMNS = 3  # of a kernel: up to so many oneDNN has a gradient made for depthwise convolutions


def depthwise_kernel_grad(x: torch.Tensor, above: torch.Tensor, kernel_size: int) -> torch.Tensor:
    """Gradient by the kernels of a depthwise convolution with stride 1 and K // 2 zeros around the map.

    It is computed for three columns of the kernels at a time. At once, for K of 5 or 7, oneDNN takes the way of dense
    convolutions, four times as long.

    Args:
        x: Input (B, C, H, W) of the convolution.
        above: Gradient (B, C, H, W) of its output.
        kernel_size: Side K of the kernels, odd.

    Returns:
        Gradient (C, 1, K, K).
    """
    channels, width, pad = x.shape[1], x.shape[3], kernel_size // 2
    padded = F.pad(x, (pad, pad))
    parts = []
    for start in range(0, kernel_size, COLUMNS):
        columns = min(COLUMNS, kernel_size - start)
        seen = padded[..., start : start + width + columns - 1]
        shape = (channels, 1, kernel_size, columns)
        both: Any = (pad, 0)  # torch's annotation knows one padding for both axes alone
        parts.append(conv2d_weight(seen, shape, above, padding=both, groups=channels))
    return torch.cat(parts, dim=-1)
