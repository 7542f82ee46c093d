"""Priors of a detection head and what its outputs do to them: anchors with deltas, points with distances.

Each is built from a part of mmdet by its attributes and then compared with that part on a few numbers, so that a
part of the same attributes and another meaning is not taken for it.

Shapes: B batch, N priors of all levels, h w a level's map.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

__all__ = ['Anchors', 'Deltas', 'Distances', 'Points', 'deltas_of', 'parts_of', 'picture_border']


class Anchors(nn.Module):
    """Boxes of fixed sizes around every position of every level.

    Args:
        generator: mmdet's AnchorGenerator.

    Shape:
        [(h, w), ...] -> (N, 4), level by level, row by row, the sizes of one position together.
    """

    def __init__(self, generator: Any) -> None:
        super().__init__()
        self.strides = [tuple(stride) for stride in generator.strides]
        for level, anchors in enumerate(generator.base_anchors):
            self.register_buffer(f'anchors{level}', anchors.detach().cpu().clone().float(), persistent=False)

    def forward(self, sizes: Sequence[Any]) -> torch.Tensor:
        return torch.cat([self._level(i, *size) for i, size in enumerate(sizes)])

    def _level(self, level: int, height: int, width: int) -> torch.Tensor:
        base = getattr(self, f'anchors{level}')
        step_x, step_y = self.strides[level]
        x = torch.arange(width, device=base.device, dtype=base.dtype) * step_x
        y = torch.arange(height, device=base.device, dtype=base.dtype) * step_y
        shift = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)] * 2, -1)  # h w 4
        return (shift[:, :, None] + base).flatten(0, 2)


class Points(nn.Module):
    """Position of every place of every level in the picture.

    Args:
        generator: mmdet's MlvlPointGenerator.

    Shape:
        [(h, w), ...] -> (N, 2), level by level, row by row.
    """

    zero: torch.Tensor

    def __init__(self, generator: Any) -> None:
        super().__init__()
        self.strides = [tuple(stride) for stride in generator.strides]
        self.offset = float(generator.offset)
        self.register_buffer('zero', torch.zeros(()), persistent=False)  # knows device and dtype

    def forward(self, sizes: Sequence[Any]) -> torch.Tensor:
        return torch.cat([self._level(i, *size) for i, size in enumerate(sizes)])

    def _level(self, level: int, height: int, width: int) -> torch.Tensor:
        step_x, step_y = self.strides[level]
        x = (torch.arange(width, device=self.zero.device, dtype=self.zero.dtype) + self.offset) * step_x
        y = (torch.arange(height, device=self.zero.device, dtype=self.zero.dtype) + self.offset) * step_y
        return torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], -1).flatten(0, 1)


class Deltas(nn.Module):
    """Boxes moved and scaled by the outputs of a head.

    Args:
        coder: mmdet's DeltaXYWHBBoxCoder.

    Shape:
        priors (..., 4), outputs (..., 4), border (2,) -> corners (..., 4).
    """

    means: torch.Tensor
    stds: torch.Tensor

    def __init__(self, coder: Any) -> None:
        super().__init__()
        self.clip = bool(coder.clip_border)
        self.center_limit = float(coder.ctr_clamp) if getattr(coder, 'add_ctr_clamp', False) else None
        self.register_buffer('means', torch.tensor(coder.means), persistent=False)
        self.register_buffer('stds', torch.tensor(coder.stds), persistent=False)

    def forward(self, prior: torch.Tensor, output: torch.Tensor, border: torch.Tensor) -> torch.Tensor:
        output = output * self.stds + self.means
        center, size = (prior[..., :2] + prior[..., 2:]) * 0.5, prior[..., 2:] - prior[..., :2]
        move, grow = size * output[..., :2], output[..., 2:]
        limit = abs(math.log(16 / 1000))  # the coder's bound on how much a box may differ from its prior
        if self.center_limit is None:
            grow = grow.clamp(-limit, limit)
        else:
            move, grow = move.clamp(-self.center_limit, self.center_limit), grow.clamp(max=limit)
        center, half = center + move, size * grow.exp() * 0.5
        return _corners(center - half, center + half, border if self.clip else None)


class Distances(nn.Module):
    """Boxes whose sides are as far from a point as the outputs of a head say: left, top, right, bottom.

    Args:
        coder: mmdet's DistancePointBBoxCoder.

    Shape:
        priors (..., 2), outputs (..., 4), border (2,) -> corners (..., 4).
    """

    def __init__(self, coder: Any) -> None:
        super().__init__()
        self.clip = bool(coder.clip_border)

    def forward(self, prior: torch.Tensor, output: torch.Tensor, border: torch.Tensor) -> torch.Tensor:
        return _corners(prior - output[..., :2], prior + output[..., 2:], border if self.clip else None)


def _corners(low: torch.Tensor, high: torch.Tensor, border: torch.Tensor | None) -> torch.Tensor:
    if border is not None:
        low, high = (torch.minimum(corner.clamp(min=0), border) for corner in (low, high))
    return torch.cat([low, high], -1)


def picture_border(image: torch.Tensor) -> torch.Tensor:
    """Width and height of a batch of pictures, (2,), as a tensor even where they are free."""
    height, width = image.shape[2:]
    return torch.cat([image.new_full((1,), 1.0) * width, image.new_full((1,), 1.0) * height])


def parts_of(head: Any) -> tuple[Anchors | Points, Deltas | Distances] | None:
    """Priors and decoding of a dense head, None if these are of another kind."""
    generator: Any = getattr(head, 'prior_generator', None)
    coder: Any = getattr(head, 'bbox_coder', None)
    if hasattr(generator, 'base_anchors'):
        priors, decode = _built(Anchors, generator), deltas_of(coder)
    else:
        priors, decode = _built(Points, generator), _built(Distances, coder)
        points, outputs = torch.tensor([[3.0, 5.0], [60.0, 30.0]]), torch.tensor([[1.0, 2, 3, 4], [9, 8, 7, 6]])
        if decode is not None and not _decodes_as(coder, decode, points, outputs):
            return None
    if priors is None or decode is None:
        return None
    sizes = [(3 + level, 2 + level) for level in range(len(priors.strides))]
    same = _equal(lambda: torch.cat(list(generator.grid_priors(sizes, device='cpu'))), lambda: priors(sizes))
    return (priors, decode) if same else None


def deltas_of(coder: Any) -> Deltas | None:
    """The decoding of a coder of deltas, None if it is of another kind."""
    decode = _built(Deltas, coder)
    boxes = torch.tensor([[1.0, 2, 30, 20], [10, 10, 20, 40], [-5, 30, 40, 70]])
    outputs = torch.tensor([[0.1, -0.2, 0.3, 0.2], [-30, 1, 9, -9], [0, 0.5, -2, 3]])
    return decode if decode is not None and _decodes_as(coder, decode, boxes, outputs) else None


def _built(kind: Callable[[Any], Any], part: Any) -> Any:
    """The part in our form, None if it lacks what that is made of."""
    try:
        return kind(part)
    except (AttributeError, TypeError):
        return None


def _decodes_as(coder: Any, decode: nn.Module, priors: torch.Tensor, outputs: torch.Tensor) -> bool:
    border = torch.tensor([64.0, 48.0])
    return _equal(
        lambda: coder.decode(priors.clone(), outputs.clone(), max_shape=(48, 64)),
        lambda: decode(priors, outputs, border),
    )


def _equal(theirs: Callable[[], Any], ours: Callable[[], torch.Tensor]) -> bool:
    """Whether both give the same numbers; a part that cannot be called like this is another one."""
    try:
        expected = theirs()
    except Exception:
        return False
    expected, given = getattr(expected, 'tensor', expected), ours()
    return expected.shape == given.shape and torch.allclose(expected, given, rtol=1e-5, atol=1e-4)
