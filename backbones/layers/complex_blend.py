"""Two-layer perceptrons on complex numbers, with a ReLU on each part between the layers.

    h = relu(z W_1 + b_1);  y = h W_2 + b_2,   relu(p + i q) = relu(p) + i relu(q)

A complex matrix W = U + i V is a real one on the parts: [p, q] -> [p, q] [[U, V], [-V, U]].

Shapes: B batch, C channels, G blocks of channels that do not mix, D = C / G, o complex maps below each other.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .conv_norm import require_eval
from .free import free_narrow, free_reshape
from .resample import linear_matrix

__all__ = ['ComplexBlend', 'RowBlend']

Parts = tuple[torch.Tensor, torch.Tensor]


class _Perceptron(nn.Module):
    """Weights (2, groups, in, out) and biases (2, groups, out) of both layers; the first axis is real, imaginary."""

    def __init__(self, groups: int, dim: int, **dd: Any) -> None:
        super().__init__()
        self.weight1 = nn.Parameter(torch.empty(2, groups, dim, dim, **dd))
        self.bias1 = nn.Parameter(torch.empty(2, groups, dim, **dd))
        self.weight2 = nn.Parameter(torch.empty(2, groups, dim, dim, **dd))
        self.bias2 = nn.Parameter(torch.empty(2, groups, dim, **dd))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal, standard deviation 0.02, biases too."""
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.02)


def real_matrix(weight: torch.Tensor) -> torch.Tensor:
    """Complex matrices (2, G, D, K) as real ones (G, 2 D, 2 K)."""
    u, v = weight.unbind(0)
    return torch.cat([torch.cat([u, v], 2), torch.cat([-v, u], 2)], 1)


class ComplexBlend(_Perceptron):
    """The perceptron over the channels of complex maps, block by block, the same at all positions.

    Args:
        dim: Channels C.
        blocks: Blocks G that do not mix; they divide C.

    Shape:
        real and imaginary parts, each (B, C, H, W) -> the same

    Source: Scattering Vision Transformer, arXiv 2311.01310, section 3 (Einstein blending).
    """

    def __init__(self, dim: int, blocks: int, device=None, dtype=None) -> None:
        if dim % blocks:
            raise ValueError(f'Blocks must divide the channels, but got {blocks} blocks for {dim} channels.')
        super().__init__(blocks, dim // blocks, device=device, dtype=dtype)
        self.blocks = blocks

    def forward(self, real: torch.Tensor, imaginary: torch.Tensor) -> Parts:
        x = _join(real, imaginary, self.blocks)
        x = F.conv2d(x, *self.kernel(self.weight1, self.bias1, x.dtype), groups=self.blocks).relu()
        return _part(F.conv2d(x, *self.kernel(self.weight2, self.bias2, x.dtype), groups=self.blocks), self.blocks)

    def kernel(self, weight: torch.Tensor, bias: torch.Tensor, dtype: torch.dtype) -> Parts:
        """Kernel (2 C, 2 D, 1, 1) and bias (2 C) of a layer as a grouped convolution, channels as `_join` has them."""
        kernel = real_matrix(weight).mT.flatten(0, 1)[:, :, None, None]
        return kernel.to(dtype), bias.transpose(0, 1).flatten().to(dtype)

    def layers(self) -> list[torch.Tensor]:
        """Matrix (G, 2 D, 2 D), outputs first, and bias (G, 2 D) of the first layer, then of the second."""
        pairs = ((self.weight1, self.bias1), (self.weight2, self.bias2))
        return [value for w, b in pairs for value in (real_matrix(w).mT, b.transpose(0, 1).flatten(1))]

    def fuse(self) -> 'FusedComplexBlend':
        """The same as two real grouped convolutions."""
        return FusedComplexBlend(self)


class FusedComplexBlend(nn.Module):
    """Deployed form of `ComplexBlend`: grouped 1 x 1 convolutions over the parts of each block, side by side."""

    def __init__(self, blend: ComplexBlend) -> None:
        super().__init__()
        require_eval(blend)
        self.blocks = blend.blocks
        self.conv1 = _convolution(blend, blend.weight1, blend.bias1)
        self.act = nn.ReLU()
        self.conv2 = _convolution(blend, blend.weight2, blend.bias2)
        self.eval()

    def forward(self, real: torch.Tensor, imaginary: torch.Tensor) -> Parts:
        x = _join(real, imaginary, self.blocks).to(self.conv1.weight.dtype)
        x = self.conv2(self.act(self.conv1(x)))
        return _part(x.to(real.dtype), self.blocks)

    def layers(self) -> list[torch.Tensor]:
        """As `ComplexBlend.layers`."""
        values = (self.conv1.weight, self.conv1.bias, self.conv2.weight, self.conv2.bias)
        return [value.view(self.blocks, -1, *value.shape[1:2]) for value in values if value is not None]


@torch.no_grad()
def _convolution(blend: ComplexBlend, weight: torch.Tensor, bias: torch.Tensor) -> nn.Conv2d:
    kernel, shift = blend.kernel(weight, bias, weight.dtype)
    conv = nn.Conv2d(len(kernel), len(kernel), 1, groups=blend.blocks, device=weight.device, dtype=weight.dtype)
    conv.weight.copy_(kernel)
    assert conv.bias is not None
    conv.bias.copy_(shift)
    return conv


def _join(real: torch.Tensor, imaginary: torch.Tensor, blocks: int) -> torch.Tensor:
    """Parts (B, C, H, W) as one map (B, 2 C, H, W): each block's real channels, then its imaginary ones."""
    batch, channels, height, width = real.shape
    shape = (batch * blocks, channels // blocks, height, width)
    x = torch.cat([free_reshape(part, *shape) for part in (real, imaginary)], 1)
    return free_reshape(x, batch, 2 * channels, height, width)


def _part(x: torch.Tensor, blocks: int) -> Parts:
    """The inverse of `_join`."""
    batch, channels, height, width = x.shape
    x = free_reshape(x, batch * blocks, channels // blocks, height, width)
    real, imaginary = (
        free_reshape(part, batch, channels // 2, height, width) for part in x.split(channels // blocks // 2, 1)
    )
    return real, imaginary


class RowBlend(_Perceptron):
    """The perceptron over the columns of complex maps, with weights of its own for each row.

    On a map of another size than it is made for, the weights are resampled linearly: over the rows as they are, over
    the columns as if rows were resized to the first width before the layers, and back behind each of them.

    Args:
        grid: (height, width) in positions of the maps that the weights are made for.

    Shape:
        real and imaginary parts, each (B, C, o height, width) -> the same

    Source: Scattering Vision Transformer, arXiv 2311.01310, section 3 (Einstein blending over tokens).
    """

    def __init__(self, grid: tuple[int, int], device=None, dtype=None) -> None:
        super().__init__(*grid, device=device, dtype=dtype)

    def forward(self, real: torch.Tensor, imaginary: torch.Tensor, maps: int) -> Parts:
        """Blend the rows of `maps` maps that lie below each other."""
        batch, channels, height, width = real.shape
        rows, count = height // maps, batch * channels * maps
        x = torch.cat([free_reshape(part, count, rows, width).transpose(0, 1) for part in (real, imaginary)], 2)
        values = [value.to(x.dtype) for value in self.resampled(rows, width)]
        for i, (weight, bias) in enumerate((values[:2], values[2:])):
            shift = bias.transpose(0, 1).flatten(1)[:, None]  # H 1 2W
            x = torch.bmm(x if i == 0 else x.relu(), real_matrix(weight)) + shift  # H N 2W
        halves = (free_narrow(x, 2, k * width, width).transpose(0, 1) for k in (0, 1))
        first, second = (free_reshape(half, batch, channels, height, width) for half in halves)
        return first, second

    def resampled(self, height: Any, width: Any) -> list[torch.Tensor]:
        """weight1, bias1, weight2 and bias2 for maps of another size."""
        own: list[torch.Tensor] = [self.weight1, self.bias1, self.weight2, self.bias2]
        grid = tuple(self.weight1.shape[1:3])
        if isinstance(height, int) and isinstance(width, int) and grid == (height, width):
            return own
        down = linear_matrix(height, grid[0], self.weight1)
        back, there = linear_matrix(width, grid[1], down), linear_matrix(grid[1], width, down)
        return [_resize(value, down, back, there) for value in own]

    @torch.no_grad()
    def resize(self, height: int, width: int) -> None:
        """Make the weights anew for other maps."""
        values = self.resampled(height, width)
        for name, value in zip(('weight1', 'bias1', 'weight2', 'bias2'), values, strict=True):
            setattr(self, name, nn.Parameter(value, getattr(self, name).requires_grad))


def _resize(value: torch.Tensor, down: torch.Tensor, back: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Weights (2, h, w, w) or biases (2, h, w) for other rows and columns: W' = there^T W back^T, b' = b back^T."""
    rows, columns = down.shape[0], back.shape[0]
    flat = torch.bmm(down.expand(2, -1, -1), value.flatten(2))
    if value.ndim == 3:
        return torch.bmm(flat, back.mT.expand(2, -1, -1))
    weight = free_reshape(flat, 2 * rows, *value.shape[2:])
    weight = torch.bmm(there.mT.expand(2 * rows, -1, -1), weight)
    return free_reshape(torch.bmm(weight, back.mT.expand(2 * rows, -1, -1)), 2, rows, columns, columns)
