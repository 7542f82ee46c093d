"""Neighbouring channels as complex numbers, multiplied by a factor for each pair, and where that product can go.

The real and the imaginary part of number j are the channels 2 j and 2 j + 1.
"""

import torch

from .precision import widened

__all__ = ['fold_pairs', 'pair_product']


def pair_product(x: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Multiply each pair of channels by a complex number, in real arithmetic of at least single precision.

    y_2j = a_j x_2j - b_j x_2j+1;  y_2j+1 = b_j x_2j + a_j x_2j+1

    Args:
        x: Map (B, D, H, W) with D even.
        factors: Numbers (a_j, b_j), (D / 2, 2).

    Returns:
        Map (B, D, H, W) of the type of `x`.
    """
    y = widened(x)
    a, b = factors.to(y.dtype).unbind(1)
    own, other = (torch.stack(parts, 1).reshape(-1, 1, 1) for parts in ((a, a), (-b, b)))
    partner = torch.arange(x.shape[1], device=x.device).view(-1, 2).flip(1).flatten()
    return (y * own + y.index_select(1, partner) * other).to(x.dtype)


def fold_pairs(kernels: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Kernels that convolve x as `kernels` convolve `pair_product(x, factors)`.

    A product of zeros is zero, so that zeros around the map may be those of either.

    Args:
        kernels: (D, E, K, K), of groups of E channels; E is even, so that no pair is cut.
        factors: As in `pair_product`.
    """
    channels, width = kernels.shape[:2]
    pairs = channels // 2
    # pairs that the outputs of a group see: those of its own channels
    seen = torch.arange(pairs, device=kernels.device).view(-1, width // 2).repeat_interleave(width, 0)  # D E/2
    a, b = (part[seen][..., None, None] for part in factors.unbind(1))  # D E/2 1 1
    real, imaginary = kernels[:, 0::2], kernels[:, 1::2]
    return torch.stack((real * a + imaginary * b, imaginary * a - real * b), 2).flatten(1, 2)
