"""A detector of OpenMMLab as one plain function: picture in, a fixed number of boxes out.

Built from the parts of a trained mmdet model by their attributes; nothing of OpenMMLab is imported.
"""

from typing import Any

import torch
from torch import nn

from .boxes import picture_border
from .dense import DenseBoxes, foreign_methods, named_maps, refuse
from .two_stage import TwoStage

__all__ = ['SingleStage', 'is_detector', 'whole_detector']

MODEL = {'predict': ('SingleStageDetector',), 'extract_feat': ('SingleStageDetector',)}


class SingleStage(nn.Module):
    """Boxes of a batch of normalised pictures.

    Args:
        model: Detector with `backbone`, `neck` and a dense `bbox_head`: RetinaNet, ATSS, FCOS, RTMDet.

    Shape:
        (B, 3, H, W) -> by name: dets (B, K, 5): x1 y1 x2 y2 score, in pixels of the input, and labels (B, K), best
        first; what is not filled has score 0 and label -1. For comparing, the head's maps score_s8, delta_s8, ...

    Raises:
        ValueError: A head, coder or suppression of another kind.
    """

    names: tuple[str, ...] = ('dets', 'labels')

    def __init__(self, model: Any) -> None:
        super().__init__()
        own = foreign_methods(model, MODEL)
        if own:
            raise ValueError(refuse(model, [], own))
        self.backbone = model.backbone
        self.neck = getattr(model, 'neck', None) or nn.Identity()
        self.boxes = DenseBoxes(model.bbox_head)
        self.strides = tuple(self.boxes.strides)
        self.rule = self.boxes.rule
        self.score_threshold, self.iou_threshold = self.boxes.score_threshold, self.rule.iou_threshold
        self.eval()

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = self.boxes.maps(self.neck(self.backbone(image)))
        dets, labels = self.boxes(picture_border(image), maps)
        return {'dets': dets, 'labels': labels, **named_maps(maps, self.strides)}


def is_detector(model: nn.Module) -> bool:
    """Whether the model has a detection head on its maps, as the detectors of mmdet do."""
    heads = (getattr(model, name, None) for name in ('bbox_head', 'roi_head'))
    return hasattr(model, 'backbone') and any(isinstance(head, nn.Module) for head in heads)


def whole_detector(model: nn.Module) -> SingleStage | TwoStage:
    """The detector as one function of pictures.

    Raises:
        ValueError: It predicts in another way than those that are known.
    """
    two_stages = isinstance(getattr(model, 'roi_head', None), nn.Module)
    return TwoStage(model) if two_stages else SingleStage(model)
