"""Maps with channels last, cut into square windows and put together again, and a linear map over each window."""

import math
from typing import Any

import torch

from .free import covering, free_narrow, free_pad, free_reshape, free_transpose
from .parts import may_run_in_parts, parts_of

__all__ = ['window_linear', 'window_merge', 'window_partition']

PART = 2**18  # elements of a map that each thread takes at a time


def window_partition(x: torch.Tensor, window: int) -> torch.Tensor:
    """Cut a map into its windows, row by row.

    One transpose of four axes moves whole rows of a window, which is as fast as a copy.

    Args:
        x: Map (B, H, W, C); H and W are multiples of `window`.
        window: Side of a window in positions.

    Returns:
        Windows (B * H * W / window^2, window^2, C), their positions row by row.
    """
    batch, height, width, channels = x.shape
    rows, columns = height // window, width // window
    between = (batch * rows, window, columns, window * channels)
    return free_transpose(x, between, (batch * rows * columns, window * window, channels))


def window_merge(windows: torch.Tensor, window: int, batch: Any, height: Any, width: Any) -> torch.Tensor:
    """Put windows together again: the inverse of `window_partition`.

    Args:
        windows: Windows (B * height * width / window^2, window^2, C).
        window: Side of a window in positions.
        batch: Images B; like `height` and `width` a number, or a symbol of an exported program.
        height: Rows of the map, a multiple of `window`.
        width: Columns of the map, a multiple of `window`.

    Returns:
        Map (B, height, width, C).
    """
    rows, columns, channels = height // window, width // window, windows.shape[2]
    return free_transpose(windows, (batch * rows, columns, window, window * channels), (batch, height, width, channels))


def window_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, before: int = 0) -> torch.Tensor:
    """One linear map over the positions of a window, for each group of channels (head) its own.

    y[h, o, c] = bias[h, o] + sum_i weight[h, o, i] x[h, i, c]

    Windows that reach beyond the map find zeros there, and what is mixed into these positions is cut off.

    Args:
        x: Map (B, H, W, C).
        weight: (heads, w*w, w*w), outputs first; positions of a window row by row. Heads divide C.
        bias: (heads, w*w).
        before: Rows and columns of zeros that the first windows begin with.

    Returns:
        Map (B, H, W, C).
    """
    if may_run_in_parts(x, weight, bias) and len(x) > 1:
        return _InParts.apply(x, weight, bias, before)
    return _linear(x, weight, bias, before)


def _linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, before: int) -> torch.Tensor:
    return _merge(torch.baddbmm(bias[:, :, None], weight, _gather(x, weight, before)), x, before)


def _gather(x: torch.Tensor, weight: torch.Tensor, before: int) -> torch.Tensor:
    """Windows of a map (B, H, W, C), sorted by head and position: (heads, w*w, N*c)."""
    heads, count = weight.shape[:2]
    window = math.isqrt(count)
    sides = [covering(side + before, window) * window for side in x.shape[1:3]]
    x = window_partition(free_pad(x, 1, before, sides), window)  # N w*w C
    x = x.unflatten(2, (heads, -1)).permute(2, 1, 0, 3)  # heads w*w N c
    return free_reshape(x, heads, count, x.shape[2] * x.shape[3])


def _merge(y: torch.Tensor, x: torch.Tensor, before: int) -> torch.Tensor:
    """The map of the shape of `x` that windows (heads, w*w, N*c) belong to; the adjoint of `_gather`."""
    heads, count = y.shape[:2]
    batch, *sides, channels = x.shape
    window = math.isqrt(count)
    rows, columns = (covering(side + before, window) for side in sides)
    number = batch * rows * columns
    y = free_reshape(y, heads, count, number, channels // heads).permute(2, 1, 0, 3)  # N w*w heads c
    y = window_merge(free_reshape(y, number, count, channels), window, batch, rows * window, columns * window)
    return free_narrow(free_narrow(y, 1, before, sides[0]), 2, before, sides[1])


class _InParts(torch.autograd.Function):
    """`_linear` for a few images at a time, so that their windows stay in the processor's cache.

    The map is kept for the backward pass instead of its windows, which padding makes up to four times as large.
    """

    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, before: int) -> torch.Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.before = before
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        for part in parts_of(x, PART):
            out[part] = _linear(x[part], weight, bias, before)
        return out

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            y = _linear(x, weight, bias, ctx.before)
            return *torch.autograd.grad(y, (x, weight, bias), grad, create_graph=True), None
        d_x = torch.empty_like(x, memory_format=torch.contiguous_format)
        d_weight, d_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for part in parts_of(x, PART):
            above = _gather(grad[part], weight, ctx.before)
            d_weight.baddbmm_(above, _gather(x[part], weight, ctx.before).mT)
            d_bias += above.sum(2)
            d_x[part] = _merge(torch.bmm(weight.mT, above), x[part], ctx.before)
        return d_x, d_weight, d_bias, None
