"""The zigzag scan of a spectrum from low to high frequency, and its bands."""

from typing import Any

import torch

__all__ = ['band_matrices', 'zigzag_ranks']


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


def band_matrices(
    height: Any, width: Any, bands: int, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooling of a spectrum to bands along the zigzag scan, and the way back.

    Band b is the mean of ranks floor(b n / K) ... ceil((b + 1) n / K) - 1 for n = H W (adaptive average pooling), and
    the frequency of rank r takes back band floor(r K / n) (nearest). With fewer frequencies than bands, neighbouring
    bands hold the same frequency.

    Args:
        height: Rows H of the spectrum.
        width: Columns W of the spectrum.
        bands: Number K of bands.
        dtype: Type of the result.
        device: Where it is made.

    Returns:
        Pooling (H W, K), each column with sum 1, and its way back (K, H W), a single 1 in each column.
    """
    rank, band = zigzag_ranks(height, width, device)[:, None], torch.arange(bands, device=device)
    n = torch.ones_like(rank).sum()
    first, end = band * n // bands, ((band + 1) * n + bands - 1) // bands
    pool = ((rank >= first) & (rank < end)).to(dtype) / (end - first).to(dtype)
    back = (rank * bands // n == band).to(dtype)
    return pool, back.T
