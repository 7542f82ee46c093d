"""Haar transform of a side of any length, as a matrix.

A side is cut in two again and again; each cut compares what lies in front of it with what lies behind. Where a side is
no power of two, the last piece of a level is shorter, and its cut weighs both parts by their lengths (the unbalanced
Haar basis). The matrix is square and orthogonal, and for a power of two it is Haar's.

Source: Girardi and Sweldens, A new class of unbalanced Haar wavelets, 1997.
"""

from typing import Any

import torch

from .constants import constant

__all__ = ['haar_matrix']

LEVELS = 16  # sides up to 2^16 positions


def haar_matrix(length: Any, like: torch.Tensor) -> torch.Tensor:
    """Orthogonal matrix (n, n) whose rows are the basis of a side of n positions.

    Row 0 is 1 / sqrt(n). Each other row belongs to a position p, an odd multiple of a power of two a; those of the
    largest power come first. It is 1 / sqrt(a (a + b) / b) for the a positions in front of p and
    -1 / sqrt(b (a + b) / a) for the b = min(a, n - p) positions from p on: where a = b, +-1 / sqrt(2 a).

    Args:
        length: Positions n of the side: a number, or a symbol of an exported program.
        like: Tensor whose type and device the matrix gets.
    """
    return constant(_build, length, like=like)


def _build(length: Any, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    place = torch.arange(length, device=device)
    count = torch.ones_like(place).sum()
    powers = 2 ** torch.arange(LEVELS, device=device)
    start = 1 + (count - 1) // (2 * powers)  # first row of each power, behind those of the larger ones
    row = place[:, None]
    member = ((row >= start) & (row < start + (count - 1 + powers) // (2 * powers))).to(powers.dtype)  # n levels
    cut = (member * (2 * (row - start) + 1) * powers).sum(1, keepdim=True)
    front = (member * powers).sum(1, keepdim=True).clamp(min=1)
    back = torch.minimum(front, count - cut)
    wide = torch.promote_types(dtype, torch.float32)
    a, b = front.to(wide), back.to(wide)
    # entries are made as 1 / sqrt(whole number), so that sums meet the thresholds of neurons as the published ones do
    left = ((place >= cut - front) & (place < cut)).to(wide) * _inverse_root(a * (a + b) / b)
    right = ((place >= cut) & (place < cut + back)).to(wide) * _inverse_root(b * (a + b) / a)
    return torch.where(row == 0, _inverse_root(count.to(wide)), left - right).to(dtype)


def _inverse_root(x: torch.Tensor) -> torch.Tensor:
    """1 / sqrt(x), rounded twice as IEEE 754 says: CPUs take `sqrt` from vector libraries, GPUs approximate `rsqrt`."""
    return x.rsqrt() if x.device.type == 'cpu' else 1 / x.sqrt()
