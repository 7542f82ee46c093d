"""Averages over squares of a map, whole or not."""

from typing import Any

import torch
import torch.nn.functional as F

from .patch import pad_to_patches

__all__ = ['average_pool']


def average_pool(x: torch.Tensor, side: int) -> torch.Tensor:
    """Averages over squares that do not overlap; one that reaches over the border averages what it has of the map.

    The weights of an average add up to one everywhere, so that a scale and shift of each channel may change places
    with it.

    Runtimes differ about squares over a border, so that an exported graph has none: there the map is filled with
    zeros, averaged over whole squares, and the last row and column are scaled by how much of theirs is map.

    Args:
        x: Map (B, C, H, W), whose sides may be symbols of an exported program.
        side: Side of a square in positions; it may be larger than the map.

    Returns:
        Map (B, C, ceil(H / side), ceil(W / side)).
    """
    if side == 1:
        return x
    if not torch.compiler.is_exporting():
        return F.avg_pool2d(x, side, ceil_mode=True, count_include_pad=False)
    y = _whole_squares(pad_to_patches(x, side), side)
    for axis in (2, 3):
        length = x.shape[axis]
        if not isinstance(length, int) or length % side:
            shares = _shares(length, side, y.shape[axis], y)
            y = y * (shares[:, None] if axis == 2 else shares)
    return y


def _whole_squares(x: torch.Tensor, side: int) -> torch.Tensor:
    """Averages over the squares that fit into the map."""
    if all(isinstance(length, int) for length in x.shape[2:]):
        return F.avg_pool2d(x, side)
    # torch's average would tie the program to what is left of a symbol when it is divided
    kernel = torch.full((x.shape[1], 1, side, side), side**-2, dtype=x.dtype, device=x.device)
    return F.conv2d(x, kernel, stride=side, groups=x.shape[1])


def _shares(length: Any, side: int, squares: Any, like: torch.Tensor) -> torch.Tensor:
    """Side of a square over how many of its positions lie on an axis of this length, for each square along it."""
    start = torch.arange(squares, device=like.device, dtype=torch.float32) * side
    return (side / (length - start).clamp(max=side)).to(like.dtype)
