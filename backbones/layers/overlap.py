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
    x = _take(x.permute(0, 2, 3, 1), tall)  # B n*tall W C
    if _several(height, tall):
        batch *= _count(height, tall)
        x = free_reshape(x, batch, tall, width, channels)
    x = _take(x.transpose(1, 2), wide)  # B*n m*wide tall C
    if _several(width, wide):
        batch *= _count(width, wide)
        x = free_reshape(x, batch, wide, tall, channels)
    return x.permute(0, 3, 2, 1)


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
    x = windows.permute(0, 3, 2, 1)  # B*n*m wide tall C
    if _several(width, wide):
        columns = _count(width, wide)
        number //= columns
        x = _average(width, wide, x) @ free_reshape(x, number, columns * wide, tall * channels)
        x = free_reshape(x, number, width, tall, channels)
    elif width != wide:
        x = x[:, :width]
    x = x.transpose(1, 2)  # B*n tall W C
    if _several(height, tall):
        rows = _count(height, tall)
        number //= rows
        x = _average(height, tall, x) @ free_reshape(x, number, rows * tall, width * channels)
        x = free_reshape(x, number, height, width, channels)
    elif height != tall:
        x = x[:, :height]
    return x.permute(0, 3, 1, 2)


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


def _places(length: Any, window: int, like: torch.Tensor) -> torch.Tensor:
    """Positions along an axis that the windows take, one window after the other, on the device of `like`.

    An axis of windows alone does not occur, here and above: a program must not be tied to whether there is one.
    """
    count = _count(length, window)
    end, last = (_value(number, like) for number in (length, count - 1))
    gaps = last.clamp(min=1)
    surplus = (last + 1) * window - end
    overlap = _floor(surplus, 2 * gaps) + _floor(surplus + gaps - 1, 2 * gaps)
    place = torch.arange(count * window, device=like.device)
    index = _floor(place, window)
    start = torch.minimum(index * (window - overlap), (end - window).clamp(min=0))
    return start + place - index * window


def _value(number: Any, like: torch.Tensor) -> torch.Tensor:
    """A number, or a symbol, as a value of the graph: a tensor without axes."""
    return torch.arange(number, number + 1, device=like.device).squeeze(0)


def _floor(a: torch.Tensor, b: Any) -> torch.Tensor:
    return torch.div(a, b, rounding_mode='floor')


def _take(x: torch.Tensor, window: int) -> torch.Tensor:
    """The positions of all windows along axis 1 of a map (B, L, ..., C), one window after the other."""
    length = x.shape[1]
    if not _several(length, window):
        return zero_pad(x, (0, 0, 0, 0, 0, window - int(length)))
    index = _places(length, window, x)
    if not isinstance(length, int):  # it may be shorter than a window: what lies beyond it is a row of zeros
        index = torch.minimum(index, _value(length, x))
        x = zero_pad(x, (0, 0, 0, 0, 0, 1))
    return x.index_select(1, index)


def _average(length: Any, window: int, like: torch.Tensor) -> torch.Tensor:
    """Matrix (length, n * window) that averages windows into positions.

    The first window at a position weighs 2^-k and each other one 2^-(k + 1), where k others follow it there.
    """
    there = torch.arange(length, device=like.device)[:, None] == _places(length, window, like)  # L n*U
    taken = there.to(like.dtype)  # TensorRT sums up no whole numbers
    order = taken.cumsum(1)
    halvings = taken.sum(1, keepdim=True) - order + (order > 1).to(like.dtype)
    return taken * torch.exp2(-halvings)
