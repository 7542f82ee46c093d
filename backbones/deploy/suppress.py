"""Selection and non-maximum suppression for a whole batch at once, with shapes that depend on no value.

Shapes: B batch, M candidates of a picture before suppression, C classes, K boxes of a result.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torchvision.ops import nms

__all__ = ['Suppression', 'best', 'keep_scores', 'select']

# What mmdet's own non-maximum suppression may be told without another result; `split_thr` is about memory alone.
KNOWN = {'type', 'iou_threshold', 'class_agnostic', 'split_thr'}


@torch.library.custom_op('backbones::keep_scores', mutates_args=())
def keep_scores(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    group: torch.Tensor | None,
    groups: int,
    iou_threshold: float,
    most: int,
) -> torch.Tensor:
    """Scores that survive non-maximum suppression within their group, zero elsewhere.

    Args:
        boxes: Corners x1 y1 x2 y2 (B, M, 4).
        scores: Scores (B, M); those that are not above zero take no part.
        group: Class of each box, or what else separates them, (B, M) from 0 to `groups` - 1; None for one group.
        groups: Number of groups.
        iou_threshold: Overlap above which the box with the lower score goes.
        most: Boxes kept in each group of a picture at most.

    Returns:
        Scores (B, M).
    """
    kept = torch.zeros_like(scores)
    for b, g in itertools.product(range(scores.shape[0]), range(groups)):
        there = scores[b] > 0 if group is None else (scores[b] > 0) & (group[b] == g)
        places = there.nonzero().flatten()
        places = places[nms(boxes[b, places], scores[b, places], iou_threshold)[:most]]
        kept[b, places] = scores[b, places]
    return kept


@keep_scores.register_fake
def _(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    group: torch.Tensor | None,
    groups: int,
    iou_threshold: float,
    most: int,
) -> torch.Tensor:
    return torch.empty_like(scores)


@dataclass(frozen=True)
class Suppression:
    """What a head's test_cfg says about suppression.

    Attributes:
        iou_threshold: Overlap above which the box with the lower score goes.
        agnostic: Whether boxes suppress those of other classes too.
        most: Boxes that stay in a picture at most.
    """

    iou_threshold: float
    agnostic: bool
    most: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> 'Suppression':
        """From `nms` and `max_per_img`."""
        nms = config['nms']
        return cls(float(nms['iou_threshold']), bool(nms.get('class_agnostic', False)), int(config['max_per_img']))

    @staticmethod
    def lacking(config: Mapping[str, Any], name: str = 'test_cfg') -> list[str]:
        """What `of` needs and the settings do not have, in words."""
        rule = config.get('nms') or {}
        plain = rule.get('type', 'nms') == 'nms' and 'iou_threshold' in rule and set(rule) <= KNOWN
        facts = {
            f"{name}.nms=dict(type='nms', iou_threshold=...)": plain,
            f'{name} with max_per_img above 0': (config.get('max_per_img') or 0) > 0,
        }
        return [what for what, holds in facts.items() if not holds]


def select(scores: torch.Tensor, count: int, nothing: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` best of each picture, or all if a graph of one size has fewer; values and indices (B, k).

    Args:
        scores: (B, N).
        count: How many.
        nothing: A graph of any size cannot know which is less, and is filled up with this.
    """
    pairs = scores.shape[1]
    if isinstance(pairs, int):
        return scores.topk(min(count, pairs), dim=1)
    filler = scores.new_full((1, 1), nothing).expand(scores.shape[0], count)
    top, index = torch.cat([scores, filler], 1).topk(count, dim=1)
    return top, index.clamp(max=pairs - 1)


def best(box: torch.Tensor, score: torch.Tensor, label: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The best K = `most` of each picture: dets (B, K, 5) and labels (B, K).

    Args:
        box: Corners (B, M, 4).
        score: Scores (B, M); those that are not above zero are no boxes.
        label: Labels (B, M).
        most: Places, of which those that are not filled have score 0 and label -1.
    """
    missing = most - score.shape[1]
    if missing > 0:
        score, label = (torch.nn.functional.pad(values, (0, missing)) for values in (score, label))
        box = torch.nn.functional.pad(box, (0, 0, 0, missing))
    top, index = score.topk(most, dim=1)  # B K
    filled = top > 0
    dets = torch.cat([box.gather(1, index[..., None].expand(-1, -1, 4)), top[..., None]], -1)
    return dets * filled[..., None], torch.where(filled, label.gather(1, index), -1)
