"""Boxes from the maps of a dense head: RetinaNet's, ATSS's, FCOS's, RTMDet's, or the proposals of a two-stage detector.

It selects, decodes and suppresses as the head's own `predict` does, but for a whole batch at once and with shapes that
depend on no value, so it can be exported, and it runs in PyTorch as well.

Shapes: B batch, N priors of all levels, C classes, M candidates of a picture before suppression, K boxes of a result.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from .boxes import parts_of
from .suppress import Suppression, best, keep_scores, select

__all__ = ['DenseBoxes', 'Maps', 'foreign_methods', 'named_maps', 'refuse']

Maps = dict[str, list[torch.Tensor]]
_NEVER = -1e9  # logit of what fills up a selection: its sigmoid is 0
# Method -> classes of mmdet whose way of prediction is this one.
PREDICTS = {
    'predict': ('BaseDenseHead',),
    'predict_by_feat': ('BaseDenseHead',),
    '_predict_by_feat_single': ('BaseDenseHead', 'RPNHead'),
    '_bbox_post_process': ('BaseDenseHead', 'RPNHead'),
}


class DenseBoxes(nn.Module):
    """Boxes of a head that predicts at every place of its maps.

    Args:
        head: Head of mmdet with `prior_generator`, `bbox_coder` and `test_cfg`.
        by_level: Suppress within levels instead of classes, which is how proposals are made.

    Shape:
        border (2,) of the picture, maps -> dets (B, K, 5): x1 y1 x2 y2 score, and labels (B, K), best first; labels
        are levels if these are what separates the boxes. What is not filled has score 0 and label -1.

    Raises:
        ValueError: The head predicts in another way.
    """

    def __init__(self, head: Any, by_level: bool = False) -> None:
        super().__init__()
        parts = _check(head, by_level)
        self.head: nn.Module = head
        self.by_level = by_level
        self.priors, self.decode = parts
        config = head.test_cfg
        self.sigmoid = bool(head.use_sigmoid_cls)
        self.classes: int = head.cls_out_channels if self.sigmoid else head.cls_out_channels - 1
        self.score_threshold = float(config.get('score_thr', 0))
        self.before: int = config['nms_pre']
        self.least_side = float(config.get('min_bbox_size', -1))
        self.rule = Suppression.of(config)
        self.strides = [int(max(stride)) for stride in self.priors.strides]

    def maps(self, features: Sequence[torch.Tensor]) -> Maps:
        """Outputs of the head, by level.

        - score: class logits (B, A*C, h, w), for A priors at each place
        - delta: what moves the priors (B, A*4, h, w)
        - factor: logits (B, A, h, w) of what the scores are multiplied by, from heads that have such a branch

        Raises:
            ValueError: The head gives something else.
        """
        found = self.head(features)
        names = ('score', 'delta', 'factor')
        if len(found) not in (2, 3) or not all(isinstance(level, torch.Tensor) for level in found[-1]):
            raise ValueError(refuse(self.head, ['two or three outputs at each level']))
        return {name: list(levels) for name, levels in zip(names, found, strict=False)}

    def forward(self, border: torch.Tensor, maps: Maps) -> tuple[torch.Tensor, torch.Tensor]:
        logits, chosen, counts, offset = [], [], [], 0
        for level in maps['score']:
            top, index = select(self._flat(level), self.before, _NEVER if self.sigmoid else 0.0)  # B k
            logits.append(top)
            chosen.append(index + offset * self.classes)
            counts.append(top.shape[1])
            offset = offset + level.shape[1] // self._outputs * level.shape[2] * level.shape[3]
        score = torch.cat(logits, 1).sigmoid() if self.sigmoid else torch.cat(logits, 1)
        index = torch.cat(chosen, 1)
        place, label = index // self.classes, index % self.classes  # B M
        if self.by_level:
            levels = [label.new_full((count,), level) for level, count in enumerate(counts)]
            label = torch.cat(levels).expand(label.shape[0], -1)
        prior = self.priors([level.shape[2:] for level in maps['score']])[place]
        box = self.decode(prior, _at(maps['delta'], place, 4), border)  # B M 4
        valid = score > self.score_threshold
        if 'factor' in maps:  # after the threshold and never before it, as the head does
            score = score * _at(maps['factor'], place, 1)[..., 0].sigmoid()
        if self.least_side >= 0:
            valid = valid & ((box[..., 2:] - box[..., :2]) > self.least_side).all(-1)
        groups = 1 if self.rule.agnostic else len(counts) if self.by_level else self.classes
        group = None if groups == 1 else label
        score = torch.where(valid, score, 0.0)
        kept = keep_scores(box, score, group, groups, self.rule.iou_threshold, self.rule.most)
        return best(box, kept, label, self.rule.most)

    @property
    def _outputs(self) -> int:
        """Outputs of the classifier for one prior; softmax has one more, the background."""
        return self.classes if self.sigmoid else self.classes + 1

    def _flat(self, level: torch.Tensor) -> torch.Tensor:
        """Logits, or scores after a softmax, of all pairs of prior and class of one level, (B, h*w*A*C)."""
        flat = level.permute(0, 2, 3, 1).flatten(1)
        if self.sigmoid:  # rises, so the order is that of the logits
            return flat
        return flat.unflatten(1, (-1, self._outputs)).softmax(-1)[..., :-1].flatten(1)


def _at(levels: Sequence[torch.Tensor], place: torch.Tensor, size: int) -> torch.Tensor:
    """Outputs (B, M, size) of the priors at `place` (B, M), from the maps (B, A*size, h, w) of all levels."""
    flat = torch.cat([level.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, size)) for level in levels], 1)  # B N s
    return flat.gather(1, place[..., None].expand(-1, -1, size))


def named_maps(maps: Maps, strides: Sequence[int]) -> dict[str, torch.Tensor]:
    """`score_s8`, ..., `delta_s8`, ... -> map."""
    return {
        f'{what}_s{stride}': level
        for what, levels in maps.items()
        for stride, level in zip(strides, levels, strict=True)
    }


def foreign_methods(part: Any, known: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Methods that a part of mmdet does not have from the classes that are known, as Class.method."""
    found = []
    for method, classes in known.items():
        owner = next((c.__name__ for c in type(part).__mro__ if method in vars(c)), type(part).__name__)
        if owner not in classes:
            found.append(f'{owner}.{method}')
    return found


def refuse(part: Any, missing: Sequence[str] = (), own: Sequence[str] = ()) -> str:
    """The sentence about a part that predicts in another way."""
    reasons = [f'lacks {"; ".join(missing)}'] * bool(missing) + [f'has its own {", ".join(own)}'] * bool(own)
    return (
        'A detector that is exported whole must predict as RetinaNet, ATSS, FCOS, RTMDet, Faster R-CNN or Mask R-CNN '
        f'of mmdet does, but {type(part).__name__} {" and ".join(reasons)}: export its backbone as a feature pyramid '
        'instead.'
    )


def _check(head: Any, by_level: bool) -> tuple[Any, Any]:
    """Refuse a head that predicts in another way than `DenseBoxes` does; its priors and decoding."""
    config = getattr(head, 'test_cfg', None) or {}
    parts = parts_of(head)
    facts = {
        'anchors with deltas (AnchorGenerator, DeltaXYWHBBoxCoder) or points with distances (MlvlPointGenerator, '
        'DistancePointBBoxCoder)': parts is not None,
        'test_cfg with nms_pre above 0': (config.get('nms_pre') or 0) > 0,
        'sigmoid or softmax scores': hasattr(head, 'use_sigmoid_cls')
        and not getattr(getattr(head, 'loss_cls', None), 'custom_cls_channels', False),
        'one class': not by_level or getattr(head, 'num_classes', None) == 1,
    }
    missing = [what for what, holds in facts.items() if not holds] + Suppression.lacking(config)
    own = foreign_methods(head, PREDICTS)
    if missing or own:
        raise ValueError(refuse(head, missing, own))
    assert parts is not None
    return parts
