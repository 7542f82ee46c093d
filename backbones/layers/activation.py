"""Activations of maps, made fast on a processor."""

import torch
import torch.nn.functional as F

__all__ = ['gelu']


def gelu(x: torch.Tensor) -> torch.Tensor:
    """GELU of a map (B, C, H, W).

    torch has its fast code for values that lie in the order of their axes, and a slower one where channels are last.
    """
    if torch.compiler.is_compiling() or not x.is_contiguous(memory_format=torch.channels_last):
        return F.gelu(x)
    return F.gelu(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
