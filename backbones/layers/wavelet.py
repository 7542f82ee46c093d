"""Dual-tree complex wavelet transform of maps, one level, and its inverse, by one real matrix for each side.

A side is filtered by a low and by a high pass. The map that is low on both sides stays at full size; each of the three
others becomes two complex maps of half the size, which see edges of opposite slopes. Maps are mirrored at their borders
(... c b a | a b c ...), an odd side after its last row is repeated once; sides of any length are restored exactly.

Source: Kingsbury, Complex wavelets for shift invariant analysis and filtering of signals, 2001; the filters are
`near_sym_b` of Abdelnour and Selesnick, 2001, exact in rational numbers.

Shapes: B batch, C channels, H and W height and width of the map, h = ceil(H / 2), w = ceil(W / 2).
"""

from collections.abc import Sequence
from typing import Any

import torch

from .constants import constant
from .free import covering, free_narrow

__all__ = ['inverse_wavelet', 'phases', 'wavelet']

_HALF_LOW = (-9, 0, 114, -240, -247, 1520)
_HALF_HIGH = (-81, 0, 1539, -2160, -8208, 27360, 63816, -59280, -343786)
LOW = [tap / 5120 for tap in (*_HALF_LOW, 2844, *_HALF_LOW[::-1])]
HIGH = [tap / 1146880 for tap in (*_HALF_HIGH, 641600, *_HALF_HIGH[::-1])]
# the inverse swaps them, with every other sign turned
INVERSE_LOW = [-tap if i % 2 == 0 else tap for i, tap in enumerate(HIGH)]
INVERSE_HIGH = [tap if i % 2 == 0 else -tap for i, tap in enumerate(LOW)]

# rows and columns, in units of h and w, at which the quarters begin that are high over rows, both sides, columns; each
# makes two of the six maps: at 15, 45 and 75 degrees, and turned over at 165, 135 and 105
BANDS = (2, 0), (2, 2), (0, 2)


def phases(half: Any, like: torch.Tensor) -> torch.Tensor:
    """0, 2, 4, ..., then 1, 3, 5, ...: the order of the rows and columns of the low map.

    Args:
        half: Even positions that there are, and odd ones: a number, or a symbol of an exported program.
        like: Tensor whose device the result gets.
    """
    even = 2 * torch.arange(half, device=like.device)
    return torch.cat([even, even + 1])


def wavelet(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Transform a map.

    Args:
        x: Map (B, C, H, W).

    Returns:
        The low map (B, C, 2 h, 2 w), its rows and columns in the order of `phases`, and the real and the imaginary part
        (B, C, 6 h, w) of the six complex maps below each other: 15, 45, 75, 105, 135 and 165 degrees.

    Raises:
        ValueError: The map is empty.
    """
    height, width = x.shape[2:]
    _check(height, width)
    tall, wide = (matrices(side, x)[0] for side in (height, width))
    y = tall @ (x @ wide.mT)  # B C 4h 4w
    h, w = covering(height, 2), covering(width, 2)
    plus, minus = [], []
    for row, column in BANDS:
        a, b, c, d = (_cut(y, (row + i) * h, h, (column + j) * w, w) for i in (0, 1) for j in (0, 1))
        plus.append((a - d, b + c))
        minus.append((a + d, b - c))
    real, imaginary = (torch.cat(parts, 2) * 0.5**0.5 for parts in zip(*plus, *minus[::-1], strict=True))
    return _cut(y, 0, 2 * h, 0, 2 * w), real, imaginary


def inverse_wavelet(
    low: torch.Tensor, real: torch.Tensor, imaginary: torch.Tensor, height: Any, width: Any
) -> torch.Tensor:
    """Map of a transform, which need not be that of a real map.

    Args:
        low: Low map (B, C, 2 h, 2 w), as `wavelet` gives it.
        real: Real parts (B, C, 6 h, w).
        imaginary: Imaginary parts (B, C, 6 h, w).
        height: Rows H of the map, 2 h or 2 h - 1.
        width: Columns W of the map, 2 w or 2 w - 1.

    Returns:
        Map (B, C, H, W).

    Raises:
        ValueError: The maps do not belong to that size.
    """
    h, w = covering(height, 2), covering(width, 2)
    sizes = [tuple(x.shape[2:]) for x in (low, real, imaginary)]
    if all(isinstance(side, int) for size in sizes for side in size) and isinstance(h + w, int):
        _check(height, width)
        if sizes != [(2 * h, 2 * w), (6 * h, w), (6 * h, w)]:
            raise ValueError(
                f'A map of {height} x {width} has a low map of {2 * h} x {2 * w} and real and imaginary parts of '
                f'{6 * h} x {w}, but got {", ".join(f"{a} x {b}" for a, b in sizes)}.'
            )
    real, imaginary = real * 0.5**0.5, imaginary * 0.5**0.5
    bands = []
    for i in range(len(BANDS)):
        (p, q), (r, s) = ([free_narrow(z, 2, k * h, h) for z in (real, imaginary)] for k in (i, 5 - i))
        bands.append(torch.cat([torch.cat([p + r, q + s], 3), torch.cat([q - s, r - p], 3)], 2))  # a b / c d
    y = torch.cat([torch.cat([low, bands[2]], 3), torch.cat(bands[:2], 3)], 2)  # B C 4h 4w
    tall, wide = (matrices(side, y)[1] for side in (height, width))
    return tall @ (y @ wide.mT)


def _check(height: Any, width: Any) -> None:
    if isinstance(height, int) and isinstance(width, int) and min(height, width) < 1:
        raise ValueError(f'The transform needs maps of at least 1 x 1 positions, but got {height} x {width}.')


def _cut(y: torch.Tensor, row: Any, rows: Any, column: Any, columns: Any) -> torch.Tensor:
    return free_narrow(free_narrow(y, 2, row, rows), 3, column, columns)


def matrices(length: Any, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both filters of a side of n positions as a matrix (4 ceil(n / 2), n), and those of the inverse the other way.

    The first axis holds low even, low odd, high even and high odd positions.
    """
    return constant(_build, length, like=like)


def _build(length: Any, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    place = torch.arange(length, device=device)
    ordered = phases(covering(length, 2), place)
    there = [_filter(taps, ordered, place, ordered, dtype) for taps in (LOW, HIGH)]
    back = [_filter(taps, place, ordered, ordered, dtype) for taps in (INVERSE_LOW, INVERSE_HIGH)]
    return torch.cat(there), torch.cat(back, 1)


def _filter(
    taps: Sequence[float], rows: torch.Tensor, columns: torch.Tensor, extent: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Matrix whose row r sums the samples around `rows[r]`, weighted by the taps.

    Samples are mirrored into as many positions as `extent` has; one that is no column is the last column again.
    """
    even = torch.ones_like(extent).sum()
    offset = torch.arange(len(taps), device=rows.device) - len(taps) // 2
    sample = (rows[:, None] + offset) % (2 * even)
    sample = torch.minimum(torch.minimum(sample, 2 * even - 1 - sample), columns.max())  # rows taps
    weight = torch.tensor(taps, dtype=torch.float64, device=rows.device).to(dtype)
    return ((sample[:, :, None] == columns).to(dtype) * weight[:, None]).sum(1)
