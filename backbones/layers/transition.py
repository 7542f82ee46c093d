"""What changes the resolution between stages: convolutions and their norms, of an image or of a map."""

import copy
from typing import Any

import torch
from torch import nn

from .conv_norm import BatchNorm2d, batch_norm_affine, fuse_conv_norm, require_eval
from .patch import pad_to_patches

__all__ = ['Stem', 'Transition']


class Stem(nn.Sequential):
    """Layers of an image: convolutions, with norms behind them, or in front of those without zeros around their map.

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

    def fuse(self) -> 'Stem':
        """The same with norms inside the convolutions next to them, or as a scale and shift where there is none."""
        require_eval(self)
        layers: list[Any] = []
        for layer in copy.deepcopy(self):
            last = layers[-1] if layers else None
            if isinstance(layer, nn.BatchNorm2d) and isinstance(last, nn.Conv2d):
                layers[-1] = fuse_conv_norm(last, layer)
            elif isinstance(layer, nn.Conv2d) and isinstance(last, nn.BatchNorm2d):
                layers[-1] = _fold_before(last, layer)
            else:
                layers.append(layer)
        layers = [layer.fuse() if isinstance(layer, BatchNorm2d) else layer for layer in layers]
        return type(self)(self.patch, *layers).eval()


class Transition(Stem):
    """The same of a map, where a norm may also stand alone.

    Shape:
        (B, H, W, C) -> (B, H', W', C')
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 3, 1, 2))


@torch.no_grad()
def _fold_before(norm: nn.BatchNorm2d, conv: Any) -> nn.Conv2d:
    """One convolution that equals `conv(norm(x))`."""
    scale, shift = batch_norm_affine(norm)
    fused, weight = copy.deepcopy(conv), conv.weight.double()
    fused.weight.copy_(weight * scale[:, None, None])
    fused.bias.copy_(conv.bias.double() + (weight * shift[:, None, None]).sum((1, 2, 3)))
    return fused
