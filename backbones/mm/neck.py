"""A feature pyramid that goes finer than its backbone; it stands on mmdet's."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmdet.models.necks import FPN
from mmengine.registry import MODELS
from torch import Tensor, nn

__all__ = ['TransposedConvFPN']


@MODELS.register_module()
class TransposedConvFPN(FPN):
    """mmdet's FPN with finer levels, grown from its finest merged lateral by transposed 2x2 convolutions.

    Gives a backbone whose first map is coarse (stride 8) the fine level (stride 4) that two-stage detectors want.

    Args:
        num_extra_trans_convs: Finer levels to add; ``num_outs`` must be the number of laterals plus this.
        **kwargs: Arguments of mmdet's ``FPN``; extra coarse levels are not offered.

    Shape: maps at strides s, 2s, ... -> the same plus s / 2, ... in front, ``out_channels`` each.

    Source: Wang et al., LSNet, arXiv 2503.23135 (detection code).
    """

    def __init__(self, *args, num_extra_trans_convs: int = 1, num_outs: int, **kwargs):
        super().__init__(*args, num_outs=num_outs - num_extra_trans_convs, **kwargs)
        laterals = len(self.lateral_convs)
        if num_extra_trans_convs < 1 or num_outs != laterals + num_extra_trans_convs:
            raise ValueError(
                f'num_outs must be the {laterals} laterals plus num_extra_trans_convs (at least 1), '
                f'got num_outs={num_outs} and num_extra_trans_convs={num_extra_trans_convs}'
            )
        width = self.out_channels
        self.trans_convs = nn.ModuleList(
            nn.ConvTranspose2d(width, width, kernel_size=2, stride=2) for _ in range(num_extra_trans_convs)
        )
        # Appended, so that the convolutions of the ordinary levels keep mmdet's numbers.
        self.fine_convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(num_extra_trans_convs))

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        maps = [conv(inputs[self.start_level + i]) for i, conv in enumerate(self.lateral_convs)]
        for i in range(len(maps) - 1, 0, -1):
            maps[i - 1] = maps[i - 1] + F.interpolate(maps[i], size=maps[i - 1].shape[-2:], **self.upsample_cfg)
        outs = [conv(x) for conv, x in zip(self.fpn_convs, maps, strict=True)]
        x = maps[0]
        for grow, smooth in zip(self.trans_convs, self.fine_convs, strict=True):
            x = grow(x)
            outs.insert(0, smooth(x))
        return tuple(outs)
