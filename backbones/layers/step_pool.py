"""Pooling over positions and time steps by weights that are learned."""

from typing import Any

import torch
from torch import nn

from .adaptive_pool import adaptive_pool, pool_matrix
from .conv_norm import batch_norm_affine, require_eval

__all__ = ['StepPool']


class StepPool(nn.Module):
    """One number for each channel, a weighted sum over side x side positions and T time steps, then batch norm.

    y = BN(b + sum over t and n of W[t, n] x[t, n])

    A map of another size is averaged into side x side cells first. For another number of steps the weights are averaged
    such that a map that stays the same in time gives the same.

    Args:
        dim: Channels C.
        num_steps: T of the weights.
        side: Cells along each axis of a map.

    Shape:
        (T * B, C, H, W) -> (B, C)

    Source: ZhangHanN1/SGLFormer@4821b13:cifar10/sglformer.py:vit_snn.full_size_conv
    """

    def __init__(self, dim: int, num_steps: int, side: int = 8, device=None, dtype=None) -> None:
        super().__init__()
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.side, self.num_steps = side, num_steps
        self.weight = nn.Parameter(torch.empty(num_steps, side * side, dim, **dd))
        self.bias = nn.Parameter(torch.empty(dim, **dd))
        self.norm: nn.Module = nn.BatchNorm1d(dim, **dd)
        bound = (num_steps * side * side) ** -0.5  # PyTorch's own of a depthwise convolution over positions and steps
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def set_num_steps(self, num_steps: int) -> None:
        """Take maps of another number of steps from now on; the weights stay."""
        self.num_steps = num_steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.cells(x).unflatten(0, (self.num_steps, -1))  # T B side*side C
        return self.norm((x * self.step_weight()[:, None]).sum((0, 2)) + self.bias)

    def cells(self, x: torch.Tensor) -> torch.Tensor:
        """(T B, C, H, W) -> (T B, side * side, C)"""
        sides = x.shape[2:]
        if all(isinstance(length, int) for length in sides) and tuple(sides) == (self.side, self.side):
            return x.flatten(2).mT
        return adaptive_pool(x.permute(0, 2, 3, 1), self.side)

    def step_weight(self) -> torch.Tensor:
        """Weights (T, side * side, C) of as many steps as the map has."""
        steps = len(self.weight)
        if steps == self.num_steps:
            return self.weight
        matrix = pool_matrix(steps, self.num_steps, self.weight)  # what would average the steps of the map
        return (matrix.mT @ self.weight.flatten(1)).unflatten(1, self.weight.shape[1:])

    @torch.no_grad()
    def fuse(self) -> 'StepPool':
        """The same with the batch norm inside the weights and the bias."""
        require_eval(self)
        if not isinstance(self.norm, nn.BatchNorm1d):
            return self
        scale, shift = batch_norm_affine(self.norm)
        like: dict[str, Any] = {'device': self.weight.device, 'dtype': self.weight.dtype}
        fused = StepPool(len(self.bias), len(self.weight), self.side, **like)
        fused.num_steps, fused.norm = self.num_steps, nn.Identity()
        fused.weight.copy_(self.weight.double() * scale)
        fused.bias.copy_(self.bias.double() * scale + shift)
        return fused.eval()

    def extra_repr(self) -> str:
        return f'{len(self.bias)}, num_steps={self.num_steps}, side={self.side}'
