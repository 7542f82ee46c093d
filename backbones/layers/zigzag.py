"""The zigzag scan of a spectrum from low to high frequency, and its bands."""

from typing import Any

import torch

from .constants import constant

__all__ = ['band_shares', 'zigzag_ranks']


def zigzag_ranks(height: Any, width: Any, device: torch.device) -> torch.Tensor:
    """Place of every frequency in the zigzag scan, without walking it.

    Anti-diagonals s = h + w come one after the other; even ones from bottom left to top right, odd ones the other way:
    (0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), ... as JPEG's, cut to the rectangle.

    rank(h, w) = |{h' + w' < s}| + (w - max(0, s - H + 1) if s is even, else h - max(0, s - W + 1))

    Args:
        height: Rows H; like the columns a number, or a symbol of a traced graph.
        width: Columns W.
        device: Where the result is made.

    Returns:
        Ranks (H W,), whole numbers from 0 to H W - 1.
    """
    tall, wide = (torch.arange(side, side + 1, device=device) for side in (height, width))  # symbols as tensors
    h, w = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)
    s = h + w
    before = _triangle(s) - _triangle(s - tall) - _triangle(s - wide) + _triangle(s - tall - wide)
    rising, falling = w - (s - tall + 1).clamp(min=0), h - (s - wide + 1).clamp(min=0)
    return (before + torch.where(s % 2 == 0, rising, falling)).flatten()


def _triangle(n: torch.Tensor) -> torch.Tensor:
    """1 + 2 + ... + n, and 0 for negative n."""
    n = n.clamp(min=0)
    return n * (n + 1) // 2


def band_shares(height: Any, width: Any, bands: int, like: torch.Tensor) -> torch.Tensor:
    """What share of a frequency's weight each band along the zigzag scan has.

    With at least as many frequencies n = H W as bands K, the frequency of rank r is in band floor(r K / n) alone. These
    bins do not overlap, as those of adaptive pooling would; they are what nearest repetition spreads K values over, so
    that pooling and its way back agree. With fewer it is the other way round: band b holds the frequency of rank
    floor(b n / K), and a frequency takes the mean of the bands that hold it, so that no band is without a frequency.

    Args:
        height: Rows H of the spectrum; like the columns a number, or a symbol of a traced graph.
        width: Columns W of the spectrum.
        bands: Number K of bands.
        like: Tensor whose type and device are asked for.

    Returns:
        Matrix S (H W, K) whose rows add up to 1. Spectra f (..., H W) are pooled by f S / S.sum(0), bands b (..., K) go
        back by b S^T.
    """
    return constant(_shares, height, width, bands, like=like)


def _shares(height: Any, width: Any, bands: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    rank, band = zigzag_ranks(height, width, device)[:, None], torch.arange(bands, device=device)
    n = torch.ones_like(rank).sum()  # a traced graph must not branch on a symbol
    inside, held = rank * bands // n == band, band * n // bands == rank
    shares = torch.where(n >= bands, inside.to(dtype), held.to(dtype))  # runtimes choose between numbers alone
    return shares / shares.sum(1, keepdim=True)
