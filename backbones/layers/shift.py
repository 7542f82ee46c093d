"""Circular shifts of channel groups, and the depthwise convolutions behind them.

    y = b + K_h * roll_W(x) + K_v * roll_H(x)

where group g of the channels is rolled by d_g positions along an axis and * is a depthwise convolution with zeros
around the map. The channels are cut as `torch.chunk` cuts them: all groups are equally wide but for the last.

Paper: Mixing and Shifting: Exploiting Global and Local Dependencies in Vision MLPs, arXiv 2202.06510.
Source: JegZheng/MS-MLP@a10d34d:models/ms_mlp.py:MixShiftBlock (its mixing, all groups at once).

One meaning, two ways to run it: as slices and concats, which `torch.compile`, `torch.export` and every ONNX runtime
understand, and on a processor for a few images at a time, with a gradient of its own that keeps no shifted map.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch.nn.grad import conv2d_input

from .depthwise import depthwise_kernel_grad
from .parts import may_run_in_parts, parts_of

__all__ = ['shift_groups', 'shifted_depthwise']

ROWS, COLUMNS = 1, 2  # axes of a map (B, H, W, C) that are rolled
PART = 2**19  # elements of a map that each thread takes at a time


def shift_groups(x: torch.Tensor, distances: Sequence[int], axis: int) -> torch.Tensor:
    """Roll each group of channels along one axis of the map: what leaves at one end comes in at the other.

    Args:
        x: Map (B, H, W, C).
        distances: Positions that each group moves by, towards larger indices. In a traced graph of free size none may
            exceed the side, unless the side is 1.
        axis: 1 to roll along the height, 2 along the width.

    Returns:
        Map (B, H, W, C).
    """
    groups = x.chunk(len(distances), dim=-1)
    return torch.cat([_roll(group, d, axis) for group, d in zip(groups, distances, strict=True)], dim=-1)


def _roll(x: torch.Tensor, distance: int, axis: int) -> torch.Tensor:
    side = x.shape[axis]
    known = isinstance(side, int)
    distance = distance % side if known else distance
    if distance == 0:
        return x
    if not torch.compiler.is_compiling():
        return x.roll(distance, axis)
    # torch would trace a roll as a gather with computed indices
    if known:
        return torch.cat([_cut(x, axis, -distance, None), _cut(x, axis, None, -distance)], dim=axis)
    # a slice as long as the side less the distance may be empty, and torch would trace it for other sides alone
    if distance > 0:
        return _cut(torch.cat([_cut(x, axis, -distance, None), x], dim=axis), axis, None, side)
    return _cut(torch.cat([x, _cut(x, axis, None, -distance)], dim=axis), axis, -side, None)


def _cut(x: torch.Tensor, axis: int, start: int | None, stop: int | None) -> torch.Tensor:
    index = [slice(None)] * x.ndim
    index[axis] = slice(start, stop)
    return x[tuple(index)]


def shifted_depthwise(
    x: torch.Tensor, horizontal: torch.Tensor, vertical: torch.Tensor, bias: torch.Tensor, distances: Sequence[int]
) -> torch.Tensor:
    """The equation above. The way it runs is chosen by device, type and by whether torch is compiling.

    Args:
        x: Map (B, H, W, C).
        horizontal: Kernels K_h (C, 1, K, K) for the map rolled along its width; K is odd.
        vertical: Kernels K_v (C, 1, K, K) for the map rolled along its height.
        bias: Sum (C) of the biases of both.
        distances: Positions that each group of channels is rolled by, as in `shift_groups`.

    Returns:
        Map (B, H, W, C).
    """
    if may_run_in_parts(x, horizontal, vertical, bias):
        return _InParts.apply(x, horizontal, vertical, bias, tuple(distances))
    return _by_slices(x, horizontal, vertical, bias, distances)


def _by_slices(
    x: torch.Tensor, horizontal: torch.Tensor, vertical: torch.Tensor, bias: torch.Tensor, distances: Sequence[int]
) -> torch.Tensor:
    y = _convolve(shift_groups(x, distances, COLUMNS), horizontal, bias)
    return y + _convolve(shift_groups(x, distances, ROWS), vertical)


def _convolve(x: torch.Tensor, kernels: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    y = F.conv2d(x.permute(0, 3, 1, 2), kernels, bias, padding=kernels.shape[-1] // 2, groups=kernels.shape[0])
    return y.permute(0, 2, 3, 1)


class _InParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, horizontal, vertical, bias, distances: tuple[int, ...]) -> torch.Tensor:
        ctx.save_for_backward(x, horizontal, vertical, bias)
        ctx.distances = distances
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        for part in parts_of(x, PART):
            y = _convolve(shift_groups(x[part], distances, COLUMNS), horizontal, bias)
            torch.add(y, _convolve(shift_groups(x[part], distances, ROWS), vertical), out=out[part])
        return out

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, horizontal, vertical, bias = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            y = _by_slices(x, horizontal, vertical, bias, ctx.distances)
            return *torch.autograd.grad(y, ctx.saved_tensors, grad, create_graph=True), None
        d_x = torch.empty_like(x, memory_format=torch.contiguous_format)
        d_horizontal, d_vertical = torch.zeros_like(horizontal), torch.zeros_like(vertical)
        for part in parts_of(x, PART):
            above = grad[part].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
            across = _shifted_back(above, horizontal, ctx.distances, COLUMNS)
            torch.add(across, _shifted_back(above, vertical, ctx.distances, ROWS), out=d_x[part])
            for d_kernels, axis in ((d_horizontal, COLUMNS), (d_vertical, ROWS)):
                shifted = shift_groups(x[part], ctx.distances, axis).permute(0, 3, 1, 2)
                d_kernels += depthwise_kernel_grad(shifted, above, d_kernels.shape[-1])
        return d_x, d_horizontal, d_vertical, grad.sum((0, 1, 2)), None


def _shifted_back(above: torch.Tensor, kernels: torch.Tensor, distances: Sequence[int], axis: int) -> torch.Tensor:
    """Gradient (B, H, W, C) by the map that was shifted and then convolved, for that of the outcome (B, C, H, W)."""
    channels, pad = kernels.shape[0], kernels.shape[-1] // 2
    d_shifted = conv2d_input(above.shape, kernels, above, padding=pad, groups=channels)
    return shift_groups(d_shifted.permute(0, 2, 3, 1), [-d for d in distances], axis)
