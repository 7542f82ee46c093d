"""Sizes of pictures: what a model takes, what it is traced at and what its file is compared at."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from timm.layers import to_2tuple
from torch import nn

from .detector import is_detector
from .segmentor import is_segmentor
from .wrap import Exportable, pretrained_cfg

__all__ = ['input_size', 'other_sizes', 'traced_size']


class _Extent(NamedTuple):
    """What a model says of the pictures that it was made for.

    Attributes:
        sides: (height, width) in pixels; None if it does not say.
        free: Whether it takes others all the same, as a ViT with `dynamic_img_size` does.
        step: What sides must be multiples of.
    """

    sides: tuple[int, ...] | None
    free: bool
    step: tuple[int, ...]


def _extent(model: nn.Module) -> _Extent:
    inner: Any = getattr(model, 'model', model)  # of a feature extractor
    patches: Any = getattr(inner, 'patch_embed', None)
    made_for = [getattr(part, 'img_size', None) for part in (inner, patches, getattr(inner, 'stem', None))]
    sides: Any = next((to_2tuple(side) for side in made_for if isinstance(side, int | tuple)), None)
    free = getattr(patches, 'strict_img_size', True) is False
    whole = free and not getattr(patches, 'dynamic_img_pad', False)
    step: Any = to_2tuple(patches.patch_size if whole else 1)
    return _Extent(sides, free, step)


def input_size(model: nn.Module, given: Sequence[int] | None, dynamic: bool | str) -> tuple[int, int, int]:
    """(channels, height, width) as given, else as the model says.

    Args:
        model: The model.
        given: What the user asks for.
        dynamic: As of `export_onnx`.

    Raises:
        ValueError: The model does not say, or takes pictures of another size alone.
    """
    cfg, extent = pretrained_cfg(model), _extent(model)
    own: Any = () if is_detector(model) or is_segmentor(model) else tuple(cfg.get('input_size') or ())
    fixed = bool(own and cfg.get('fixed_input_size'))
    if fixed and extent.sides:
        own = (own[0], *extent.sides)  # it may have been made, or made anew, for another size
    size = tuple(int(side) for side in given or own)
    if len(size) != 3 or min(size) < 1:
        raise ValueError(
            f'input_size must be (channels, height, width), but got {given}'
            + ('.' if given else ' and the model does not know its own: give input_size=(3, height, width).')
        )
    if fixed and not extent.free and (dynamic is True or size[1:] != own[1:]):
        raise ValueError(
            f'{cfg.get("architecture", "This model")} takes pictures of {own[1]} x {own[2]} pixels alone: '
            "give dynamic='batch' or dynamic=False, and no other input_size."
        )
    return size  # type: ignore[return-value]


def traced_size(module: Exportable, height: int, width: int) -> tuple[int, int]:
    """Size to trace with where sides are free: else they are taken for constants.

    Every map must be larger than 1 x 1, and no side equal to another.
    """
    least, step = 4 * max(module.strides, default=32), _extent(module.network).step
    height, width = (max(side, least) for side in (height, width))
    return _whole(height, width + least // 4 if width == height else width, step)


@torch.no_grad()
def other_sizes(module: Exportable, lead: tuple[int, ...], height: int, width: int) -> list[tuple[int, int]]:
    """Two sizes other than the file's: odd if the model takes these, else multiples of its patches or strides."""
    sizes = [
        (max(33, height * 3 // 5) | 1, max(33, width * 4 // 5) | 1),
        (max(48, height // 2), max(40, width // 2)),
    ]
    step = _extent(module.network).step
    if module.kind == 'detector':
        try:
            for size in sizes:
                module.network(torch.zeros(*lead, *size))
        except (AssertionError, RuntimeError):
            step = (max(module.strides),) * 2
    return [_whole(*size, step) for size in sizes]


def _whole(height: int, width: int, step: tuple[int, ...]) -> tuple[int, int]:
    """The next multiples of the steps."""
    return -(-height // step[0]) * step[0], -(-width // step[1]) * step[1]
