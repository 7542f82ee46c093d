"""Convolutions of groups of few channels, as sums of depthwise convolutions, which oneDNN has better code for.

Between them the channels move on within their groups: after r steps output c of E meets input c - r.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

__all__ = ['map_of', 'rows_of', 'thin_conv', 'thin_conv_back']


def rows_of(x: torch.Tensor) -> torch.Tensor:
    """Positions (B*H*W, C) of a map (B, C, H, W)."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def map_of(rows: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Map (B, C, H, W) of positions (B*H*W, C), for (H, W)."""
    return rows.view(-1, *size, rows.shape[1]).permute(0, 3, 1, 2)


def _turn(rows: torch.Tensor, width: int, steps: int) -> torch.Tensor:
    """Move the channels on within their groups; what leaves a group at its end comes in at its start."""
    return rows.view(len(rows), -1, width).roll(steps, -1).view(rows.shape) if steps else rows


def _taken(kernels: torch.Tensor, steps: int) -> torch.Tensor:
    """The kernels (D, 1, K, K) that the channels meet when the map was turned by so many steps."""
    width = kernels.shape[1]
    if width == 1:
        return kernels
    groups = kernels.unflatten(0, (-1, width))  # group, output, input, K, K
    groups = groups.roll(steps, 2) if steps else groups
    return groups.diagonal(0, 1, 2).permute(0, 3, 1, 2).reshape(-1, 1, *kernels.shape[2:])


def thin_conv(
    rows: torch.Tensor, kernels: torch.Tensor, bias: torch.Tensor | None, size: Sequence[int]
) -> torch.Tensor:
    """Map (B, D, H, W): the sum of depthwise convolutions of the map turned by 0, 1, ... steps."""
    channels, width = kernels.shape[:2]
    pad, found = kernels.shape[-1] // 2, []
    for steps in range(width):
        x = map_of(_turn(rows, width, steps), size)
        found.append(F.conv2d(x, _taken(kernels, steps), None if steps else bias, padding=pad, groups=channels))
    return _sum(found)


def thin_conv_back(rows: torch.Tensor, kernels: torch.Tensor, above: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients by rows and kernels, for that of the map."""
    channels, width = kernels.shape[:2]
    every, pads = torch.arange(channels, device=kernels.device), [kernels.shape[-1] // 2] * 2
    found, d_kernels = [], torch.empty_like(kernels)
    for steps in range(width):
        x = map_of(_turn(rows, width, steps), above.shape[2:])
        d_x, d_k, _ = torch.ops.aten.convolution_backward(
            above, x, _taken(kernels, steps), None, [1, 1], pads, [1, 1], False, [0, 0], channels, [True, True, False]
        )
        found.append(_turn(rows_of(d_x), width, -steps))
        d_kernels[every, (every - steps) % width] = d_k.squeeze(1)
    return _sum(found), d_kernels


def _sum(found: list[torch.Tensor]) -> torch.Tensor:
    for other in found[1:]:
        found[0].add_(other)
    return found[0]
