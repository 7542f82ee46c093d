"""Feature pyramids for torchvision's detectors, on any timm model."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

__all__ = ['FeaturePyramid']


class FeaturePyramid(nn.Module):
    """A timm model and a feature pyramid network, in the form in which torchvision's detectors take a backbone.

    Args:
        model_name: A name of ours or of timm's own.
        out_channels: Channels of every map of the pyramid.
        out_indices: Levels of the model that go into the pyramid; all of them if None.
        pool: Add one coarser map, the last one at every second place, as Faster R-CNN has it.
        **kwargs: Further arguments of the timm model.

    Shape: (B, C, H, W) -> a map (B, out_channels, ceil(H / s), ceil(W / s)) for each stride s of `strides`, by the
        names '0', '1', ..., the finest first.

    Source: T.-Y. Lin et al., Feature Pyramid Networks for Object Detection, arXiv 1612.03144 (torchvision's).

    Raises:
        ValueError: The model takes clips.
    """

    def __init__(
        self,
        model_name: str,
        out_channels: int = 256,
        out_indices: Sequence[int] | None = None,
        pool: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        levels = {} if out_indices is None else {'out_indices': tuple(out_indices)}
        self.body: Any = timm.create_model(model_name, features_only=True, **levels, **kwargs)
        if getattr(getattr(self.body, 'model', None), 'clips', False):
            raise ValueError(
                f'FeaturePyramid takes pictures (B, C, H, W), but {model_name} takes clips (B, T, C, H, W): give '
                'clips=False to show it each picture at every time step, or a model of pictures.'
            )
        self.out_channels = out_channels
        self.strides = list(self.body.feature_info.reduction())
        self.fpn = FeaturePyramidNetwork(
            self.body.feature_info.channels(), out_channels, LastLevelMaxPool() if pool else None
        )
        if pool:
            self.strides.append(2 * self.strides[-1])
        self._last = str(getattr(self.body, 'output_fmt', 'NCHW')).endswith('NHWC')

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = [m.permute(0, 3, 1, 2) if self._last else m for m in self.body(x)]
        merged = self.fpn(OrderedDict((str(i), m) for i, m in enumerate(maps)))
        return OrderedDict((str(i), m) for i, m in enumerate(merged.values()))
