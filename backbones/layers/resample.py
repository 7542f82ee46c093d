"""Resizing along one axis as a matrix, built from the two lengths in plain arithmetic.

A resize of a map is one such matrix on each side: y = A_h x A_w^T. Sizes may be symbols of a traced graph; a graph of
fixed sizes holds two constants and no Resize operator.
"""

from typing import Any

import torch

from .constants import constant

__all__ = ['apply_sides', 'cubic_matrix', 'cubic_taps', 'linear_matrix', 'resize_map', 'resize_table']


def linear_matrix(to: Any, source: Any, like: torch.Tensor) -> torch.Tensor:
    """Linear interpolation whose first and last samples stay where they are (`align_corners=True` of torch).

    A[i, j] = max(0, 1 - |i (source - 1) / (to - 1) - j|)

    Args:
        to: Samples after resizing.
        source: Samples before.
        like: Tensor whose type and device the matrix gets.

    Returns:
        Matrix (to, source); the identity when the lengths are equal.
    """
    return constant(_linear, to, source, like=like)


def _linear(to: Any, source: Any, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    like = torch.empty(0, dtype=dtype, device=device)
    rows, columns = _index(to, like), _index(source, like)
    position = rows * (source - 1) / rows[-1:].clamp(min=1)
    return (1 - (position[:, None] - columns).abs()).clamp(min=0).to(dtype)


def cubic_taps(to: Any, source: Any, like: torch.Tensor, a: float = -0.75) -> tuple[torch.Tensor, torch.Tensor]:
    """The four samples that each sample of a cubic resize is a sum of, pixel centres at i + 1/2.

    w[i, t] = k(s_i - n_t) for the four samples n next to s_i = (i + 1/2) source / to - 1/2

    Args:
        to: Samples after resizing.
        source: Samples before.
        like: Tensor whose device the results get.
        a: Slope of the kernel k at 1.

    Returns:
        Their weights (to, 4), in float32 or better, and their places (to, 4), moved into [0, source - 1].

    Source: Keys, Cubic convolution interpolation for digital image processing, 1981, equation 15.
    """
    rows = _index(to, like)
    position = (rows + 0.5) * source / (rows[-1:] + 1) - 0.5
    neighbour = position.floor()[:, None] + (_index(4, like) - 1)
    distance = (position[:, None] - neighbour).abs()
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return torch.where(distance <= 1, near, far), neighbour.clamp(0, source - 1).long()


def cubic_matrix(to: Any, source: Any, like: torch.Tensor, a: float = -0.75) -> torch.Tensor:
    """Cubic convolution with borders repeated, pixel centres at i + 1/2 (torch's `mode='bicubic'`).

    A[i, j] is the sum of the weights of `cubic_taps` whose place is j.

    Args:
        to: Samples after resizing.
        source: Samples before.
        like: Tensor whose type and device the matrix gets.
        a: Slope of the kernel at 1.

    Returns:
        Matrix (to, source); the identity when the lengths are equal.
    """
    return constant(_cubic, to, source, a, like=like)


def _cubic(to: Any, source: Any, a: float, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    weight, place = cubic_taps(to, source, torch.empty(0, dtype=dtype, device=device), a)
    taken = place[:, :, None] == torch.arange(source, device=device)  # to 4 source
    return (weight[:, :, None] * taken).sum(1).to(dtype)


def apply_sides(x: torch.Tensor, tall: torch.Tensor | None = None, wide: torch.Tensor | None = None) -> torch.Tensor:
    """A matrix along each side of a map with channels last: y = A_h x A_w^T; None leaves a side as it is.

    Shape:
        (B, H, W, C), (H', H), (W', W) -> (B, H', W', C)
    """
    if tall is not None:
        x = (tall @ x.flatten(2)).unflatten(2, x.shape[2:])
    return x if wide is None else wide @ x


def resize_map(x: torch.Tensor, height: Any, width: Any) -> torch.Tensor:
    """Bicubic resize of a map with channels last (torch's `mode='bicubic'`).

    A side that is known to have its length already is left alone.

    Args:
        x: Map (B, H, W, C).
        height: Rows after resizing; like `width` a number, or a symbol of a traced graph.
        width: Columns after resizing.

    Returns:
        Map (B, height, width, C).
    """
    if all(isinstance(side, int) for side in (*x.shape[1:3], height, width)):
        sides = zip((height, width), x.shape[1:3], strict=True)
        return apply_sides(x, *(None if to == source else cubic_matrix(to, source, x) for to, source in sides))
    # torch cannot trace a symbolic side that a matrix product joins with another axis
    for axis, to in ((1, height), (2, width)):
        weight, place = cubic_taps(to, x.shape[axis], x)
        weight = weight.to(x.dtype).view(-1, *(1,) * (2 - axis), 1, 4)  # broadcasts over what follows the axis
        first, *others = (x.index_select(axis, place[:, t]) * weight[..., t] for t in range(4))
        x = sum(others, start=first)
    return x


def resize_table(
    table: torch.Tensor,
    height: Any,
    width: Any,
    rows: torch.Tensor | None = None,
    columns: torch.Tensor | None = None,
) -> torch.Tensor:
    """Table of one map, bilinear between its corners, which stay where they are.

    Args:
        table: (C, h, w).
        height: Rows after resizing; like `width` a number, or a symbol of a traced graph.
        width: Columns after resizing.
        rows: Order in which the rows are wanted, if another one.
        columns: Order of the columns, likewise.

    Returns:
        (C, height, width).
    """
    pairs = zip((height, width), table.shape[1:], (rows, columns), strict=True)
    sides = [(linear_matrix(to, source, table), order) for to, source, order in pairs]
    tall, wide = (matrix if order is None else matrix.index_select(0, order) for matrix, order in sides)
    # bmm: a broadcasting matmul would fold the channels into a side, and a traced graph then pins that side
    return torch.bmm(torch.bmm(tall.expand(len(table), -1, -1), table), wide.mT.expand(len(table), -1, -1))


def _index(length: int, like: torch.Tensor) -> torch.Tensor:
    """0 ... length - 1 on the device of `like`, in its type but no shorter than float32, which counts past 256."""
    return torch.arange(length, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)
