"""What changes the resolution between stages: convolutions and their norms, of an image or of a map."""

import copy
from typing import Any

import torch
from torch import nn

from .conv_norm import BatchNorm2d, batch_norm_affine, fuse_conv_norm, require_eval
from .patch import pad_to_patches

__all__ = ['Stem', 'Transition']


class Stem(nn.Sequential):
    """Layers of an image, of which the last leaves its channels last.

    Args:
        patch: Positions that the sides are filled up to multiples of, with zeros at the right and the bottom.
        layers: The layers.

    Shape:
        (B, C, H, W) -> (B, H', W', C')
    """

    def __init__(self, patch: int, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.patch = patch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = pad_to_patches(x, self.patch).contiguous(memory_format=torch.channels_last)
        return super().forward(x).permute(0, 2, 3, 1)


class Transition(Stem):
    """Layers of a map: a convolution and its norm, a norm and its convolution (without zeros around it), or a norm.

    Shape:
        (B, H, W, C) -> (B, H', W', C')
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 3, 1, 2))

    def fuse(self) -> 'Transition':
        """The same with the norm inside the convolution, or as a scale and shift where it is alone."""
        require_eval(self)
        layers: list[Any] = list(self)
        first, others = layers[0], layers[1:]
        if isinstance(first, BatchNorm2d):
            layer = _fold_before(first, others[0]) if others else first.fuse()
        else:
            layer = fuse_conv_norm(first, others[0]) if others else first
        return Transition(self.patch, layer).eval()


@torch.no_grad()
def _fold_before(norm: nn.BatchNorm2d, conv: Any) -> nn.Conv2d:
    """One convolution that equals `conv(norm(x))`."""
    scale, shift = batch_norm_affine(norm)
    fused, weight = copy.deepcopy(conv), conv.weight.double()
    fused.weight.copy_(weight * scale[:, None, None])
    fused.bias.copy_(conv.bias.double() + (weight * shift[:, None, None]).sum((1, 2, 3)))
    return fused
