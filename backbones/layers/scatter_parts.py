"""Wavelet transform, weights for low and a complex perceptron for high frequencies, and back, an image at a time.

    y = T^-1(w * l, blend(z)),  (l, z) = T(x)

On a processor the coefficients of one image, four times as large as its map, stay in the cache, and no map is
transposed: coefficients lie as (rows, C, columns), which both sides' matrices take and give as they are.
"""

import torch

from .parts import may_run_in_parts
from .wavelet import BANDS, inverse_wavelet, matrices, wavelet

__all__ = ['fits_scatter', 'scatter_in_parts']

MAPS = 2 * len(BANDS)

Sides = tuple[torch.Tensor, torch.Tensor]  # a matrix for the rows and one for the columns


def fits_scatter(x: torch.Tensor, *values: torch.Tensor) -> bool:
    """Whether `scatter_in_parts` serves for these inputs and weights."""
    return may_run_in_parts(x, *values) and min(x.shape) > 0


def scatter_in_parts(
    x: torch.Tensor, table: torch.Tensor, w1: torch.Tensor, b1: torch.Tensor, w2: torch.Tensor, b2: torch.Tensor
) -> torch.Tensor:
    """The equation.

    Args:
        x: Map (B, H, W, C).
        table: Weights (C, 2 h, 2 w) of the low map, in its order.
        w1: First layer as real matrices (G, 2 D, 2 D), outputs first, over the real and then the imaginary channels of
            each of G blocks.
        b1: Its bias (G, 2 D).
        w2: Second layer.
        b2: Its bias.

    Returns:
        Map (B, H, W, C).
    """
    half = 0.5**0.5
    return _InParts.apply(x, table.transpose(0, 1).contiguous(), w1 * half, b1, w2 * half, b2 * half)


class _InParts(torch.autograd.Function):
    """The factor of the complex maps is in the weights; the table comes as (2 h, C, 2 w)."""

    @staticmethod
    def forward(ctx, x, table, w1, b1, w2, b2) -> torch.Tensor:
        there, back = _sides(x)
        out, kept = torch.empty_like(x, memory_format=torch.contiguous_format), []
        keep = any(ctx.needs_input_grad)
        for image, result in zip(x, out, strict=True):
            y = _apart(image, there)
            low, z = _low(y), _take(y, len(w1))
            h = torch.baddbmm(b1[:, :, None], w1, z).relu_()
            if keep:
                kept += [low.clone(), z, h]
            low.mul_(table)
            _put(torch.baddbmm(b2[:, :, None], w2, h), y)
            _together(y, back, result)
        if keep:
            ctx.save_for_backward(x, table, w1, b1, w2, b2, *kept)
        return out

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        saved = ctx.saved_tensors  # to be asked for once
        values, kept = saved[:6], saved[6:]
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            return torch.autograd.grad(_plain(*values), values, grad, create_graph=True)
        x, table, w1, _, w2, _ = values
        there, back = ((tall.mT, wide.mT) for tall, wide in _sides(x))
        below = torch.empty_like(x, memory_format=torch.contiguous_format)
        d_table, d_w1, d_b1, d_w2, d_b2 = (torch.zeros_like(value) for value in values[1:])
        for i, (above, result) in enumerate(zip(grad, below, strict=True)):
            low, z, h = kept[3 * i : 3 * i + 3]
            y = _apart(above, back)
            d_table.addcmul_(low, _low(y))
            _low(y).mul_(table)
            d_y = _take(y, len(w1))
            d_w2.baddbmm_(d_y, h.mT)
            d_b2 += d_y.sum(2)
            d_h = torch.ops.aten.threshold_backward(torch.bmm(w2.mT, d_y), h, 0)
            d_w1.baddbmm_(d_h, z.mT)
            d_b1 += d_h.sum(2)
            _put(torch.bmm(w1.mT, d_h), y)
            _together(y, there, result)
        return below, d_table, d_w1, d_b1, d_w2, d_b2


def _sides(x: torch.Tensor) -> tuple[Sides, Sides]:
    """Matrices of the transform and of its inverse for maps (B, H, W, C)."""
    tall, wide = (matrices(side, x) for side in x.shape[1:3])
    return (tall[0], wide[0]), (tall[1], wide[1])


def _apart(x: torch.Tensor, sides: Sides) -> torch.Tensor:
    """Coefficients (4 h, C, 4 w) of a map (H, W, C)."""
    tall, wide = sides
    y = torch.bmm(x.mT, wide.mT.expand(len(x), -1, -1))  # H C 4w
    return (tall @ y.flatten(1)).view(len(tall), *y.shape[1:])


def _together(y: torch.Tensor, sides: Sides, out: torch.Tensor) -> None:
    """The map (H, W, C) of coefficients (4 h, C, 4 w), written to `out`."""
    tall, wide = sides
    y = (tall @ y.flatten(1)).view(len(tall), *y.shape[1:])  # H C 4w
    torch.bmm(wide.expand(len(y), -1, -1), y.mT, out=out)


def _low(y: torch.Tensor) -> torch.Tensor:
    """The low quarter (2 h, C, 2 w), a view."""
    return y[: len(y) // 2, :, : y.shape[2] // 2]


def _quarters(y: torch.Tensor, groups: int, band: tuple[int, int]) -> list[torch.Tensor]:
    """Views (G, D, h, w) of the positions of a band that are even or odd: a, b / c, d."""
    h, w = len(y) // 4, y.shape[2] // 4
    by_group = y.transpose(0, 1).unflatten(0, (groups, -1))  # G D 4h 4w
    starts = [((band[0] + i) * h, (band[1] + j) * w) for i in (0, 1) for j in (0, 1)]
    return [by_group[:, :, row : row + h, column : column + w] for row, column in starts]


def _take(y: torch.Tensor, groups: int) -> torch.Tensor:
    """Complex maps (G, 2 D, 6 h w) of coefficients: a - d + i (b + c), a + d + i (b - c). The adjoint of `_put`."""
    h, w = len(y) // 4, y.shape[2] // 4
    z = y.new_empty(groups, 2, y.shape[1] // groups, MAPS, h, w)
    for i, band in enumerate(BANDS):
        a, b, c, d = _quarters(y, groups, band)
        j = MAPS - 1 - i
        torch.sub(a, d, out=z[:, 0, :, i])
        torch.add(b, c, out=z[:, 1, :, i])
        torch.add(a, d, out=z[:, 0, :, j])
        torch.sub(b, c, out=z[:, 1, :, j])
    return z.view(groups, -1, MAPS * h * w)


def _put(z: torch.Tensor, y: torch.Tensor) -> None:
    """Write complex maps into coefficients: the adjoint of `_take`, and its inverse but for a factor of 2."""
    h, w = len(y) // 4, y.shape[2] // 4
    z = z.view(len(z), 2, -1, MAPS, h, w)
    for i, band in enumerate(BANDS):
        a, b, c, d = _quarters(y, len(z), band)
        j = MAPS - 1 - i
        torch.add(z[:, 0, :, i], z[:, 0, :, j], out=a)
        torch.add(z[:, 1, :, i], z[:, 1, :, j], out=b)
        torch.sub(z[:, 1, :, i], z[:, 1, :, j], out=c)
        torch.sub(z[:, 0, :, j], z[:, 0, :, i], out=d)


def _plain(x, table, w1, b1, w2, b2) -> torch.Tensor:
    """The equation in operators that have gradients themselves."""
    low, *parts = wavelet(x.permute(0, 3, 1, 2))
    z = torch.cat([part.unflatten(1, (len(w1), -1)) for part in parts], 2)  # B G 2D 6h w
    h = (w1 @ z.flatten(3) * 2**0.5 + b1[:, :, None]).relu()
    y = ((w2 @ h + b2[:, :, None]) * 2**0.5).view_as(z)
    real, imaginary = (part.flatten(1, 2) for part in y.chunk(2, 2))
    return inverse_wavelet(low * table.transpose(0, 1), real, imaginary, *x.shape[1:3]).permute(0, 2, 3, 1)
