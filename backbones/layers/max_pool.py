"""Max pooling in squares of 3 x 3, of maps whose sides may be symbols of an exported program."""

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ['MaxPool']


@torch.library.custom_op('backbones::max_pool', mutates_args=())
def max_pool(x: torch.Tensor, side: int, stride: int, padding: int) -> torch.Tensor:
    return F.max_pool2d(x, side, stride, padding)


@max_pool.register_fake
def _(x: torch.Tensor, side: int, stride: int, padding: int) -> torch.Tensor:
    sides = ((length + 2 * padding - side) // stride + 1 for length in x.shape[2:])
    return x.new_empty((*x.shape[:2], *sides))


class MaxPool(nn.Module):
    """Largest value of each square of 3 x 3, at every second position or at all; outside of the map there is nothing.

    Where a program is exported, torch's own asks whether a side is odd, and ties the program to the answer: there the
    operator is recorded as a whole.

    Args:
        stride: Of the positions, 2 or 1.

    Shape:
        (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, stride: int = 2) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_exporting() and not all(isinstance(length, int) for length in x.shape[2:]):
            return max_pool(x, 3, self.stride, 1)
        return F.max_pool2d(x, 3, self.stride, 1)
