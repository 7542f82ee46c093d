"""Resizing along one axis as a matrix, built from the two lengths in plain arithmetic.

A resize of a map is one such matrix on each side: y = A_h x A_w^T. Sizes may be symbols of a traced graph; a graph of
fixed sizes holds two constants and no Resize operator.
"""

import torch

__all__ = ['cubic_matrix', 'linear_matrix']


def linear_matrix(to: int, source: int, like: torch.Tensor) -> torch.Tensor:
    """Linear interpolation whose first and last samples stay where they are (`align_corners=True` of torch).

    A[i, j] = max(0, 1 - |i (source - 1) / (to - 1) - j|)

    Args:
        to: Samples after resizing.
        source: Samples before.
        like: Tensor whose type and device the matrix gets.

    Returns:
        Matrix (to, source); the identity when the lengths are equal.
    """
    rows, columns = _index(to, like), _index(source, like)
    position = rows * (source - 1) / rows[-1:].clamp(min=1)
    return (1 - (position[:, None] - columns).abs()).clamp(min=0).to(like.dtype)


def cubic_matrix(to: int, source: int, like: torch.Tensor, a: float = -0.75) -> torch.Tensor:
    """Cubic convolution with borders repeated, pixel centres at i + 1/2 (torch's `mode='bicubic'`).

    A[i, j] is the sum of k(s_i - n) over the four samples n next to s_i = (i + 1/2) source / to - 1/2 that, moved into
    [0, source - 1], are j.

    Args:
        to: Samples after resizing.
        source: Samples before.
        like: Tensor whose type and device the matrix gets.
        a: Slope of the kernel at 1.

    Returns:
        Matrix (to, source); the identity when the lengths are equal.

    Source: Keys, Cubic convolution interpolation for digital image processing, 1981, equation 15.
    """
    rows, columns = _index(to, like), _index(source, like)
    position = (rows + 0.5) * source / (rows[-1:] + 1) - 0.5
    matrix = rows.new_zeros(to, source)
    for tap in (-1, 0, 1, 2):
        neighbour = position.floor() + tap
        distance = (position - neighbour).abs()
        near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
        far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
        weight = torch.where(distance <= 1, near, far)
        taken = neighbour.clamp(0, source - 1)[:, None] == columns
        matrix = matrix + weight[:, None] * taken
    return matrix.to(like.dtype)


def _index(length: int, like: torch.Tensor) -> torch.Tensor:
    """0 ... length - 1 on the device of `like`, in its type but no shorter than float32, which counts past 256."""
    return torch.arange(length, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)
