"""Patches that do not overlap: zeros for those that are incomplete, and their embedding."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ['PatchEmbed', 'pad_to_patches', 'zero_pad']


def zero_pad(x: torch.Tensor, pads: Sequence[Any]) -> torch.Tensor:
    """Zeros around a map; the map itself, and no copy of it, where there is nothing to add.

    Args:
        x: Map.
        pads: Zeros before and behind the last axis, then the one before it, and so on; numbers, or symbols of a traced
            graph.
    """
    known = all(isinstance(pad, int) for pad in pads)  # a traced graph must not branch on a symbol
    return x if known and not any(pads) else F.pad(x, tuple(pads))


def pad_to_patches(x: torch.Tensor, patch: int) -> torch.Tensor:
    """Zeros at the right and the bottom until patches cover the map, for a convolution that steps by them.

    A free side of a traced graph gets as many zeros as any could need: the convolution leaves the rest out.

    Args:
        x: Map (B, C, H, W).
        patch: Side of a patch in positions.
    """
    bottom, right = (-side % patch if isinstance(side, int) else patch - 1 for side in x.shape[2:])
    return zero_pad(x, (0, right, 0, bottom))


class PatchEmbed(nn.Module):
    """Patches of P x P positions, projected and normalised; an incomplete patch is filled with zeros.

    y = LN(W * x)

    timm's PatchEmbed gives tokens, or refuses sizes that patches do not divide.

    Args:
        in_chs: Channels of the input.
        dim: Channels of the output.
        patch: Side P of a patch in positions.
        eps: Added to the variance.

    Shape:
        (B, in_chs, H, W) -> (B, ceil(H / P), ceil(W / P), dim)

    Source: Swin Transformer, arXiv 2103.14030, section 3.1.
    """

    def __init__(self, in_chs: int, dim: int, patch: int, eps: float = 1e-5, device=None, dtype=None) -> None:
        super().__init__()
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.patch = patch
        self.proj = nn.Conv2d(in_chs, dim, patch, patch, **dd)
        self.norm = nn.LayerNorm(dim, eps, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = pad_to_patches(x, self.patch)
        x = x.contiguous(memory_format=torch.channels_last)  # so that the norm gets its axis last without a copy
        return self.norm(self.proj(x).permute(0, 2, 3, 1))  # B C H W -> B H W C
