"""Averages over squares of a map, whole or not."""

from typing import Any

import torch
import torch.nn.functional as F

from .free import covering
from .patch import pad_to_patches

__all__ = ['average_pool']


def average_pool(x: torch.Tensor, side: int) -> torch.Tensor:
    """Averages over squares that do not overlap; one that reaches over the border averages what it has of the map.

    The weights of an average add up to one everywhere, so that a scale and shift of each channel may change places
    with it.

    Runtimes differ about squares over a border. An exported graph sees none: the map is filled with zeros, averaged
    over whole squares, and the last row and column are scaled by how much of theirs is map.

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
    y = F.avg_pool2d(pad_to_patches(x, side), side)
    for axis, length in enumerate(x.shape[2:]):
        if not isinstance(length, int) or length % side:
            shape = (-1, 1) if axis == 0 else (-1,)
            y = y * _shares(length, side, y).view(shape)
    return y


def _shares(length: Any, side: int, like: torch.Tensor) -> torch.Tensor:
    """Side of a square over how many of its positions lie on an axis of this length, for each square along it."""
    place = torch.arange(covering(length, side), device=like.device, dtype=torch.float32)
    return (side / (length - side * place).clamp(max=side)).to(like.dtype)
