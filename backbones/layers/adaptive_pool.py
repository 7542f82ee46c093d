"""Adaptive average pooling as matrices, which can be exported for any size."""

from typing import Any

import torch
import torch.nn.functional as F

from .free import free_reshape
from .resample import apply_sides

__all__ = ['adaptive_pool', 'pool_matrix']


def adaptive_pool(x: torch.Tensor, side: int) -> torch.Tensor:
    """Means over `side` x `side` cells of a map, row by row; cells overlap where the map is no multiple of them.

    y = A_h x A_w^T with the matrices of `pool_matrix`

    Args:
        x: Map (B, H, W, C).
        side: Cells along each axis.

    Returns:
        (B, side * side, C).
    """
    if not torch.compiler.is_exporting():
        return F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), side).permute(0, 2, 3, 1).flatten(1, 2)
    batch, height, width, channels = x.shape
    tall, wide = pool_matrix(side, height, x), pool_matrix(side, width, x)
    if isinstance(height, int) and isinstance(width, int):
        return apply_sides(x, tall, wide).flatten(1, 2)
    # one matrix for both sides: torch cannot trace a product that joins a symbolic side with another axis
    both = free_reshape(tall[:, None, :, None] * wide[None, :, None, :], side * side, height * width)
    return torch.bmm(both.expand(batch, -1, -1), free_reshape(x, batch, height * width, channels))


def pool_matrix(to: int, source: Any, like: torch.Tensor) -> torch.Tensor:
    """Means over `to` parts of a line, each from its first sample, rounded down, to its last, rounded up.

    A[i, j] = 1 / n_i for floor(i source / to) <= j < ceil((i + 1) source / to), n_i samples; else 0

    Args:
        to: Parts.
        source: Samples; a number, or a symbol of a traced graph.
        like: Tensor whose type and device the matrix gets.

    Returns:
        Matrix (to, source).
    """
    first = torch.arange(to, device=like.device)[:, None] * source
    place = torch.arange(source, device=like.device) * to
    taken = (place > first - to) & (place < first + source)  # the bounds, multiplied by `to`
    taken = taken.to(torch.promote_types(like.dtype, torch.float32))
    return (taken / taken.sum(1, keepdim=True)).to(like.dtype)
