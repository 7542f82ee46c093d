"""Maps cut into sub-grids, each of every second row and column, and put together again."""

import torch

from .free import covering, free_narrow, free_pad, free_reshape

__all__ = ['sub_grids', 'whole_grid']


def sub_grids(x: torch.Tensor, step: int = 2) -> torch.Tensor:
    """Sub-grid (i, j) holds the rows i, i + s, i + 2 s, ... and the columns j, j + s, ...; those that end early go on
    with zeros.

    Args:
        x: Map (B, C, H, W).
        step: s, rows and columns from one position of a sub-grid to the next.

    Returns:
        (B s^2, C, ceil(H / s), ceil(W / s)): the sub-grids of the first map, row by row, then those of the next.
    """
    batch, channels, height, width = x.shape
    h, w = covering(height, step), covering(width, step)
    x = free_pad(x, 2, 0, (step * h, step * w))
    parts = []
    for row in free_reshape(x, batch, channels * h, step, step * w).unbind(2):  # B C*h W
        parts += free_reshape(row, batch, channels * h, w, step).unbind(3)  # B C*h w
    parts = [free_reshape(part, batch, channels, h, w) for part in parts]
    return free_reshape(torch.cat(parts, 1), batch * step**2, channels, h, w)


def whole_grid(x: torch.Tensor, height: int, width: int, step: int = 2) -> torch.Tensor:
    """Inverse of `sub_grids`.

    Args:
        x: Sub-grids (B s^2, C, ceil(H / s), ceil(W / s)).
        height: Rows H of the map; like `width` a number, or a symbol of an exported program.
        width: Columns W of the map.
        step: s.

    Returns:
        Map (B, C, H, W).
    """
    count, channels, h, w = x.shape
    batch = count // step**2
    parts = free_reshape(x, batch, step**2, channels * h, w).unbind(1)  # B C*h w
    rows = []
    for start in range(0, step**2, step):
        row = torch.stack(parts[start : start + step], 3)  # B C*h w s
        rows.append(free_reshape(row, batch, channels * h, step * w))
    x = free_reshape(torch.stack(rows, 2), batch, channels, step * h, step * w)  # of B C*h s W
    return free_narrow(free_narrow(x, 2, 0, height), 3, 0, width)
