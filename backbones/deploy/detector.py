"""A single-stage anchor detector of OpenMMLab as one plain function: picture in, a fixed number of boxes out.

Built from the parts of a trained mmdet model (RetinaNet and its like) by their attributes; nothing of OpenMMLab is
imported. It selects, decodes and suppresses as the head's own `predict` does, but for a whole batch at once and with
shapes that depend on no value, so it can be exported, and it runs in PyTorch as well.

Shapes: B batch, N anchors of all levels, C classes, M candidates of a picture before suppression, K boxes of a result.
"""

import itertools
import math
from typing import Any

import torch
from torch import nn
from torchvision.ops import nms

__all__ = ['AnchorDetector', 'is_detector', 'keep_scores']

_NEVER = -1e9  # logit of what fills up a selection: its sigmoid is 0


@torch.library.custom_op('backbones::keep_scores', mutates_args=())
def keep_scores(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, most: int) -> torch.Tensor:
    """Scores that survive non-maximum suppression within their class, zero elsewhere.

    Args:
        boxes: Corners x1 y1 x2 y2 (B, M, 4).
        scores: Scores (B, C, M); those that are not above zero take no part.
        iou_threshold: Overlap above which the box with the lower score goes.
        most: Boxes kept in each class of a picture at most.

    Returns:
        Scores (B, C, M).
    """
    kept = torch.zeros_like(scores)
    for b, c in itertools.product(*map(range, scores.shape[:2])):
        places = (scores[b, c] > 0).nonzero().flatten()
        places = places[nms(boxes[b, places], scores[b, c, places], iou_threshold)[:most]]
        kept[b, c, places] = scores[b, c, places]
    return kept


@keep_scores.register_fake
def _(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, most: int) -> torch.Tensor:
    return torch.empty_like(scores)


def is_detector(model: nn.Module) -> bool:
    """Whether the model has a detection head on its maps, as mmdet's single-stage detectors do."""
    return isinstance(getattr(model, 'bbox_head', None), nn.Module) and hasattr(model, 'backbone')


class AnchorDetector(nn.Module):
    """Boxes of a batch of normalised pictures.

    Args:
        model: Detector with `backbone`, `neck`, and a `bbox_head` with `prior_generator`, a coder of box deltas and
            `test_cfg`.

    Shape:
        (B, 3, H, W) -> dets (B, K, 5): x1 y1 x2 y2 score, in pixels of the input, and labels (B, K), best first; what
        is not filled has score 0 and label -1. `maps` are the head's own outputs.

    Raises:
        ValueError: A head, coder or suppression of another kind.
    """

    means: torch.Tensor
    stds: torch.Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        head = model.bbox_head
        _check(head)
        self.backbone = model.backbone
        self.neck = getattr(model, 'neck', None) or nn.Identity()
        self.head: nn.Module = head
        self.eval()
        config, coder, priors = head.test_cfg, head.bbox_coder, head.prior_generator
        self.classes: int = head.cls_out_channels if head.use_sigmoid_cls else head.cls_out_channels - 1
        self.sigmoid = bool(head.use_sigmoid_cls)
        self.score_threshold = float(config.get('score_thr', 0))
        self.before: int = config['nms_pre']
        self.most: int = config['max_per_img']
        self.iou_threshold = float(config['nms']['iou_threshold'])
        self.agnostic = bool(config['nms'].get('class_agnostic', False))
        self.least_side = float(config.get('min_bbox_size', -1))
        self.clip = bool(coder.clip_border)
        self.center_limit = float(coder.ctr_clamp) if getattr(coder, 'add_ctr_clamp', False) else None
        self.strides = [tuple(stride) for stride in priors.strides]
        self.register_buffer('means', torch.tensor(coder.means), persistent=False)
        self.register_buffer('stds', torch.tensor(coder.stds), persistent=False)
        for level, anchors in enumerate(priors.base_anchors):
            self.register_buffer(f'anchors{level}', anchors.detach().clone().float(), persistent=False)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.decode(image, *self.maps(image))

    def maps(self, image: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Class logits (B, A*C, H_l, W_l) and box deltas (B, A*4, H_l, W_l) of each level."""
        scores, deltas = self.head(self.neck(self.backbone(image)))
        return list(scores), list(deltas)

    def decode(
        self, image: torch.Tensor, scores: list[torch.Tensor], deltas: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Boxes (B, K, 5) and labels (B, K) from the maps."""
        logits, chosen, offset = [], [], 0
        for level in scores:
            top, index = self._select(level)  # B k
            logits.append(top)
            chosen.append(index + offset * self.classes)
            offset = offset + level.shape[1] // self._logits * level.shape[2] * level.shape[3]
        score = torch.cat(logits, 1).sigmoid() if self.sigmoid else torch.cat(logits, 1)
        index = torch.cat(chosen, 1)
        place, label = index // self.classes, index % self.classes  # B M
        box = self._boxes(image, deltas, place)  # B M 4
        valid = score > self.score_threshold
        if self.least_side >= 0:
            valid = valid & ((box[..., 2:] - box[..., :2]) > self.least_side).all(-1)
        return self._suppress(box, torch.where(valid, score, 0.0), label)

    @property
    def _logits(self) -> int:
        """Outputs of the classifier for one anchor; softmax has one more, the background."""
        return self.classes if self.sigmoid else self.classes + 1

    def _select(self, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The best `nms_pre` of all (anchor, class) pairs of one level: logits or scores, and indices, (B, k)."""
        if self.sigmoid:  # rises, so the order is that of the logits
            flat = level.permute(0, 2, 3, 1).flatten(1)  # B A*C h w -> B h*w*A*C
        else:
            flat = level.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, self._logits))
            flat = flat.softmax(-1)[..., :-1].flatten(1)
        pairs = flat.shape[1]
        if not isinstance(pairs, int) or pairs < self.before:
            # a graph of any size cannot know which is less: fill up to `nms_pre`, with what is never a box
            filler = flat.new_full((1, 1), _NEVER if self.sigmoid else 0.0).expand(flat.shape[0], self.before)
            flat = torch.cat([flat, filler], 1)
        top, index = flat.topk(self.before, dim=1)
        return top, index.clamp(max=pairs - 1)

    def _boxes(self, image: torch.Tensor, deltas: list[torch.Tensor], place: torch.Tensor) -> torch.Tensor:
        """Corners (B, M, 4) of the anchors at `place`, moved and scaled by their deltas and cut at the border."""
        delta = torch.cat([level.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4)) for level in deltas], 1)  # B N 4
        anchors = torch.cat([self._anchors(i, *level.shape[2:]) for i, level in enumerate(deltas)])  # N 4
        delta = delta.gather(1, place[..., None].expand(-1, -1, 4)) * self.stds + self.means
        anchor = anchors[place]
        center, size = (anchor[..., :2] + anchor[..., 2:]) * 0.5, anchor[..., 2:] - anchor[..., :2]
        move, grow = size * delta[..., :2], delta[..., 2:]
        limit = abs(math.log(16 / 1000))  # the coder's bound on how much a box may differ from its anchor
        if self.center_limit is None:
            grow = grow.clamp(-limit, limit)
        else:
            move, grow = move.clamp(-self.center_limit, self.center_limit), grow.clamp(max=limit)
        center, half = center + move, size * grow.exp() * 0.5
        low, high = center - half, center + half
        if self.clip:
            height, width = image.shape[2:]
            border = torch.cat([image.new_full((1,), 1.0) * width, image.new_full((1,), 1.0) * height])
            low, high = (torch.minimum(corner.clamp(min=0), border) for corner in (low, high))
        return torch.cat([low, high], -1)

    def _anchors(self, level: int, height: int, width: int) -> torch.Tensor:
        """Anchors (height * width * A, 4) of one level, row by row."""
        base = getattr(self, f'anchors{level}')
        step_x, step_y = self.strides[level]
        x = torch.arange(width, device=base.device, dtype=base.dtype) * step_x
        y = torch.arange(height, device=base.device, dtype=base.dtype) * step_y
        shift = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)] * 2, -1)  # h w 4
        return (shift[:, :, None] + base).flatten(0, 2)

    def _suppress(
        self, box: torch.Tensor, score: torch.Tensor, label: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Suppress within classes, then the best K of each picture."""
        if self.agnostic or self.classes == 1:
            by_class = score[:, None]  # B 1 M
        else:
            classes = torch.arange(self.classes, device=label.device)
            by_class = torch.where(label[:, None] == classes[:, None], score[:, None], 0.0)  # B C M
        kept = keep_scores(box, by_class, self.iou_threshold, self.most).amax(1)  # B M
        missing = self.most - self.before * len(self.strides)
        if missing > 0:
            kept = torch.nn.functional.pad(kept, (0, missing))
            box, label = (
                torch.nn.functional.pad(box, (0, 0, 0, missing)),
                torch.nn.functional.pad(label, (0, missing)),
            )
        best, index = kept.topk(self.most, dim=1)  # B K
        filled = best > 0
        dets = torch.cat([box.gather(1, index[..., None].expand(-1, -1, 4)), best[..., None]], -1)
        return dets * filled[..., None], torch.where(filled, label.gather(1, index), -1)


def _check(head: Any) -> None:
    """Refuse a head that predicts in another way than `AnchorDetector` does."""
    config = getattr(head, 'test_cfg', None) or {}
    coder = getattr(head, 'bbox_coder', None)
    suppression = config.get('nms') or {}
    kind = suppression.get('type', 'nms')
    facts = {
        'a prior_generator with base_anchors and strides': hasattr(
            getattr(head, 'prior_generator', None), 'base_anchors'
        ),
        'a bbox_coder of deltas (DeltaXYWHBBoxCoder)': hasattr(coder, 'means') and hasattr(coder, 'clip_border'),
        'test_cfg with nms_pre and max_per_img above 0': all(config.get(k, 0) > 0 for k in ('nms_pre', 'max_per_img')),
        "test_cfg.nms=dict(type='nms', iou_threshold=...)": kind == 'nms' and 'iou_threshold' in suppression,
        'sigmoid or softmax scores': not getattr(getattr(head, 'loss_cls', None), 'custom_cls_channels', False),
    }
    missing = [what for what, holds in facts.items() if not holds]
    if missing:
        raise ValueError(
            'A detector that is exported whole must have an anchor head as RetinaNet has, but '
            f'{type(head).__name__} lacks {"; ".join(missing)}: export its backbone as a feature pyramid instead.'
        )
