"""Faster R-CNN and Mask R-CNN of OpenMMLab as one plain function: picture in, a fixed number of boxes and masks out.

Every proposal has a place whether or not it is filled, so that the second stage always works on all of them, and the
mask head on all boxes of the result: what that costs is set by `max_per_img` of the two test_cfg.

A RoI belongs to one level of the pyramid by its size. As no shape may depend on a value, all RoIs are given to every
level; where one does not belong it is shrunk to nothing, which RoIAlign samples at no place.

Shapes: B batch, P proposals, C classes, K boxes of a result.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torchvision.ops import roi_align

from .boxes import deltas_of, picture_border
from .dense import DenseBoxes, foreign_methods, named_maps, refuse
from .suppress import Suppression, best, keep_scores

__all__ = ['RoIPyramid', 'TwoStage']

MODEL = {'predict': ('TwoStageDetector',), 'extract_feat': ('TwoStageDetector',)}
ROI_HEAD = {
    'predict': ('BaseRoIHead',),
    'predict_bbox': ('StandardRoIHead',),
    'predict_mask': ('StandardRoIHead',),
    '_bbox_forward': ('StandardRoIHead',),
    '_mask_forward': ('StandardRoIHead',),
}
BBOX_HEAD = {'predict_by_feat': ('BBoxHead',), '_predict_by_feat_single': ('BBoxHead',)}
MASK_HEAD = {'predict_by_feat': ('FCNMaskHead',), '_predict_by_feat_single': ('FCNMaskHead',)}
EXTRACTOR = {'forward': ('SingleRoIExtractor',), 'map_roi_levels': ('SingleRoIExtractor',)}


class RoIPyramid(nn.Module):
    """RoIAlign on the level of a pyramid that fits the size of each RoI.

    level = clamp(floor(log2(sqrt(width * height) / finest_scale + 1e-6)), 0, L - 1)

    Args:
        extractor: mmdet's SingleRoIExtractor with RoIAlign layers.

    Shape:
        L maps (B, C, h_l, w_l), boxes (B, R, 4) in pixels of the picture -> (B * R, C, h, w).

    Raises:
        ValueError: An extractor or layer of another kind.
    """

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        layers = list(getattr(extractor, 'roi_layers', ()))
        known = layers and all(
            hasattr(layer, 'aligned') and hasattr(layer, 'sampling_ratio') and getattr(layer, 'pool_mode', '') == 'avg'
            for layer in layers
        )
        own = foreign_methods(extractor, EXTRACTOR)
        if own or not known:
            raise ValueError(refuse(extractor, [] if known else ['RoIAlign layers that average'], own))
        self.scales = [float(layer.spatial_scale) for layer in layers]
        self.size: tuple[int, int] = tuple(layers[0].output_size)
        self.samples = [int(layer.sampling_ratio) for layer in layers]
        self.aligned = [bool(layer.aligned) for layer in layers]
        self.finest = float(extractor.finest_scale)

    def forward(self, maps: Sequence[torch.Tensor], boxes: torch.Tensor) -> torch.Tensor:
        batch = torch.arange(boxes.shape[0], device=boxes.device, dtype=boxes.dtype)
        batch = batch[:, None, None].expand(-1, boxes.shape[1], 1).flatten(0, 1)  # B*R 1
        boxes = boxes.flatten(0, 1)
        size = (boxes[:, 2:] - boxes[:, :2]).prod(-1).sqrt() / self.finest + 1e-6
        bounds = [2**level for level in range(1, len(self.scales))]
        level = sum(((size >= bound).long() for bound in bounds), torch.zeros_like(size, dtype=torch.long))
        pooled = None
        for i, scale in enumerate(self.scales):
            here = level == i
            rois = torch.cat([batch, torch.where(here[:, None], boxes, 0.0)], 1)
            found = roi_align(maps[i], rois, self.size, scale, self.samples[i], self.aligned[i])
            pooled = found if pooled is None else torch.where(here[:, None, None, None], found, pooled)
        assert pooled is not None
        return pooled


class TwoStage(nn.Module):
    """Boxes, and masks if it has a head for them, of a batch of normalised pictures.

    Args:
        model: Detector with `backbone`, `neck`, an `rpn_head` on anchors and a `roi_head` of one stage.

    Shape:
        (B, 3, H, W) -> by name: dets (B, K, 5): x1 y1 x2 y2 score, in pixels of the input, labels (B, K), and masks
        (B, K, h, w): the probability of each box's class on an even grid over the box; best first, and what is not
        filled has score 0, label -1 and an empty mask. For comparing, proposals (B, P, 5), levels (B, P) and the RPN's
        maps score_s4, delta_s4, ... `proposals` in the call replace the model's own in the second stage.

    Raises:
        ValueError: A part of another kind.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        roi = _check(model)
        self.backbone = model.backbone
        self.neck = getattr(model, 'neck', None) or nn.Identity()
        self.rpn = DenseBoxes(model.rpn_head, by_level=True)
        self.strides = tuple(self.rpn.strides)
        self.pool, self.bbox_head = RoIPyramid(roi.bbox_roi_extractor), roi.bbox_head
        self.decode = deltas_of(roi.bbox_head.bbox_coder)
        self.classes: int = roi.bbox_head.num_classes
        self.rule = Suppression.of(roi.test_cfg)
        self.iou_threshold, self.score_threshold = self.rule.iou_threshold, float(roi.test_cfg['score_thr'])
        self.names: tuple[str, ...] = ('dets', 'labels')
        if getattr(roi, 'mask_head', None) is not None:
            # one extractor may serve both heads
            extractor = getattr(roi, 'mask_roi_extractor', None) or roi.bbox_roi_extractor
            self.mask_pool, self.mask_head = RoIPyramid(extractor), roi.mask_head
            self.names += ('masks',)
        self.eval()

    def forward(self, image: torch.Tensor, proposals: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        features = self.neck(self.backbone(image))
        border, maps = picture_border(image), self.rpn.maps(features)
        own, levels = self.rpn(border, maps)
        dets, labels = self._boxes(features, own if proposals is None else proposals, border)
        found = {'dets': dets, 'labels': labels}
        if 'masks' in self.names:
            found['masks'] = self._masks(features, dets[..., :4], labels)
        return {**found, 'proposals': own, 'levels': levels, **named_maps(maps, self.strides)}

    def _boxes(
        self, features: Sequence[torch.Tensor], proposals: torch.Tensor, border: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Boxes (B, K, 5) and labels (B, K) from the proposals (B, P, 5); those of score 0 are none."""
        count = proposals.shape[1]
        logits, delta = self.bbox_head(self.pool(features, proposals[..., :4]))  # B*P C+1, B*P C*4
        score = logits.softmax(-1)[:, :-1].reshape(-1, count, self.classes).transpose(1, 2)  # B C P
        valid = (score > self.score_threshold) & (proposals[:, None, :, 4] > 0)
        score = torch.where(valid, score, 0.0)
        delta = delta.reshape(-1, count, delta.shape[1] // 4, 4).transpose(1, 2)  # B C P 4, or B 1 P 4
        assert self.decode is not None
        box = self.decode(proposals[:, None, :, :4], delta, border).expand(-1, self.classes, -1, -1)
        if self.rule.agnostic:
            box, score = box.reshape(-1, 1, self.classes * count, 4), score.reshape(-1, 1, self.classes * count)
        each, iou = box.shape[2], self.rule.iou_threshold  # a class has its own boxes, as a picture has
        kept = keep_scores(box.reshape(-1, each, 4), score.reshape(-1, each), None, 1, iou, self.rule.most)
        label = torch.arange(self.classes, device=box.device)[:, None].expand(-1, count).flatten()
        every = self.classes * count
        return best(
            box.reshape(-1, every, 4), kept.reshape(-1, every), label.expand(proposals.shape[0], -1), self.rule.most
        )

    def _masks(self, features: Sequence[torch.Tensor], boxes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Probabilities (B, K, h, w) within the boxes (B, K, 4)."""
        logits = self.mask_head(self.mask_pool(features, boxes))  # B*K C h w, or B*K 1 h w
        height, width = logits.shape[2:]
        if logits.shape[1] > 1:
            which = labels.clamp(min=0).flatten()[:, None, None, None].expand(-1, 1, height, width)
            logits = logits.gather(1, which)
        masks = logits.sigmoid().reshape(-1, labels.shape[1], height, width)
        return torch.where((labels >= 0)[..., None, None], masks, 0.0)


def _check(model: Any) -> Any:
    """Refuse a model that predicts in another way than `TwoStage` does; its RoI head."""
    roi = model.roi_head
    if not isinstance(getattr(model, 'rpn_head', None), nn.Module):
        raise ValueError(refuse(model, ['an rpn_head']))
    own = foreign_methods(model, MODEL)
    if own:
        raise ValueError(refuse(model, [], own))
    own = foreign_methods(roi, ROI_HEAD)
    config, bbox_head = getattr(roi, 'test_cfg', None) or {}, getattr(roi, 'bbox_head', None)
    facts = {
        'a bbox_head of one stage': isinstance(bbox_head, nn.Module) and not isinstance(bbox_head, nn.ModuleList),
        'RoI features without a shared head': getattr(roi, 'shared_head', None) is None,
        'test_cfg with score_thr': config.get('score_thr') is not None,
    }
    missing = [what for what, holds in facts.items() if not holds] + Suppression.lacking(config)
    if missing or own:
        raise ValueError(refuse(roi, missing, own))
    _check_heads(bbox_head, getattr(roi, 'mask_head', None))
    return roi


def _check_heads(bbox_head: Any, mask_head: Any) -> None:
    facts = {
        'a bbox_coder of deltas (DeltaXYWHBBoxCoder)': deltas_of(getattr(bbox_head, 'bbox_coder', None)) is not None,
        'outputs for both classes and boxes': all(getattr(bbox_head, name, False) for name in ('with_cls', 'with_reg')),
        'softmax scores': not getattr(bbox_head, 'custom_cls_channels', False),
    }
    missing, own = [what for what, holds in facts.items() if not holds], foreign_methods(bbox_head, BBOX_HEAD)
    if missing or own:
        raise ValueError(refuse(bbox_head, missing, own))
    own = foreign_methods(mask_head, MASK_HEAD) if mask_head is not None else []
    if own:
        raise ValueError(refuse(mask_head, [], own))
