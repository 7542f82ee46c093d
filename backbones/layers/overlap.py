"""Windows of one size, as few as cover a map and spread over it so that they overlap, and their average as a map.

Along an axis of L positions and for windows of U positions there are

    n = round(L / U + 1/2) windows,  each o = round((n U - L) / (n - 1) - 1/2) positions over the one before it,

halves rounded to even; the last one is moved back to where it ends with the map. A map that is shorter than a window is
filled up with zeros. Where windows meet, each is averaged with what those before it gave, one after the other.

Everything is arithmetic on the two lengths, which may be symbols of a traced graph, and both ways are linear: a gather
of rows and columns, and a matrix on each side.

Source: MLP-DINO, Med-Process/MLP-DINO@3d79a76:models/dino/strip_mlp.py:SparseMLP_Block
"""

from typing import Any

import torch

from .free import free_reshape
from .patch import zero_pad

__all__ = ['overlap_merge', 'overlap_partition']


def overlap_partition(x: torch.Tensor, window: tuple[int, int]) -> torch.Tensor:
    """Cut a map into overlapping windows, row by row.

    Args:
        x: Map (B, C, H, W).
        window: (height, width) of a window in positions.

    Returns:
        Windows (B * n, C, *window); the map itself if it has the size of a window.
    """
    tall, wide = window
    batch, channels, height, width = x.shape
    x = _take(x, 2, tall)
    if _several(height, tall):
        rows = _count(height, tall)
        x = free_reshape(x, batch, channels, rows, tall * width).transpose(1, 2)
        batch *= rows
        x = free_reshape(x, batch, channels, tall, width)
    x = _take(x, 3, wide)
    if _several(width, wide):
        columns = _count(width, wide)
        x = free_reshape(x, batch, channels * tall, columns, wide).transpose(1, 2)
        x = free_reshape(x, batch * columns, channels, tall, wide)
    return x


def overlap_merge(windows: torch.Tensor, height: Any, width: Any) -> torch.Tensor:
    """Average windows into a map: the way back from `overlap_partition`.

    Args:
        windows: Windows (B * n, C, tall, wide).
        height: Rows of the map; like `width` a number, or a symbol of a traced graph.
        width: Columns of the map.

    Returns:
        Map (B, C, height, width).
    """
    number, channels, tall, wide = windows.shape
    x = windows
    if _several(width, wide):
        columns = _count(width, wide)
        number //= columns
        x = free_reshape(x, number, columns, channels * tall, wide).transpose(1, 2)
        x = free_reshape(x, number, channels * tall, columns * wide) @ _average(width, wide, x).mT
        x = free_reshape(x, number, channels, tall, width)
    elif width != wide:
        x = x[..., :width]
    if _several(height, tall):
        rows = _count(height, tall)
        number //= rows
        x = free_reshape(x, number, rows, channels, tall * width).transpose(1, 2)
        x = _average(height, tall, x) @ free_reshape(x, number, channels, rows * tall, width)  # B C H W
    elif height != tall:
        x = x[..., :height, :]
    return x


def _several(length: Any, window: int) -> bool:
    """Whether there may be several windows; a traced graph must not branch on a symbol, and treats one as several.

    torch.jit traces one size alone, whose lengths it shows as tensors: such a length is known.
    """
    if torch.jit.is_tracing():
        length = int(length)
    return not (isinstance(length, int) and length <= window)


def _count(length: Any, window: int) -> Any:
    """n, without rounding: ceil(L / 2U) + floor((L + U) / 2U).

    For L = U that is two windows at one place, whose average is the one that the formula above has in mind.
    """
    return (length + 2 * window - 1) // (2 * window) + (length + window) // (2 * window)


def _starts(length: Any, window: int, like: torch.Tensor) -> torch.Tensor:
    """First position of every window, on the device of `like`."""
    index = torch.arange(_count(length, window), device=like.device)
    end = torch.arange(length, device=like.device)[-1:] + 1  # L as a value of the graph
    gaps = index[-1:].clamp(min=1)
    surplus = (index[-1:] + 1) * window - end
    overlap = _floor(surplus, 2 * gaps) + _floor(surplus + gaps - 1, 2 * gaps)
    return torch.minimum(index * (window - overlap), (end - window).clamp(min=0))


def _floor(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.div(a, b, rounding_mode='floor')


def _take(x: torch.Tensor, axis: int, window: int) -> torch.Tensor:
    """The positions of all windows along an axis, one window after the other."""
    length = x.shape[axis]
    pads = [0, 0] if axis == 3 else [0, 0, 0, 0]
    if not _several(length, window):
        pads[-1] = window - int(length)
        return zero_pad(x, pads)
    index = _starts(length, window, x)[:, None] + torch.arange(window, device=x.device)
    index = free_reshape(index, _count(length, window) * window)
    if not isinstance(length, int):  # it may be shorter than a window: what lies beyond it is a row of zeros
        pads[-1] = 1
        index = torch.minimum(index, torch.arange(length, device=x.device)[-1:] + 1)
        x = zero_pad(x, pads)
    return x.index_select(axis, index)


def _average(length: Any, window: int, like: torch.Tensor) -> torch.Tensor:
    """Matrix (length, n * window) that averages windows into positions.

    The first window at a position weighs 2^-k and each other one 2^-(k + 1), where k others follow it there.
    """
    offset = torch.arange(length, device=like.device)[:, None] - _starts(length, window, like)  # L n
    inside = (offset >= 0) & (offset < window)
    order = inside.cumsum(1)
    after = order[:, -1:] - order
    halvings = after + (order > 1).to(after.dtype)
    weight = inside * torch.exp2(-halvings.to(like.dtype))
    taken = offset[:, :, None] == torch.arange(window, device=like.device)  # L n U
    return free_reshape(weight[:, :, None] * taken, length, _count(length, window) * window).to(like.dtype)
