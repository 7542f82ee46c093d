"""Classifiers that learn from a teacher; they stand on mmpretrain's.

custom_imports = dict(imports=['backbones.mm', 'backbones.mm.distill'], allow_failed_imports=False)
model = dict(
    type='DistilledTimmClassifier',
    model_name='lsnet_t_distill',
    teacher=dict(model_name='regnety_160.deit_in1k', pretrained=True),
)
"""

import copy
from typing import Any

import timm
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmpretrain.models import TimmClassifier
from torch import Tensor, nn

__all__ = ['DistilledTimmClassifier']


@MODELS.register_module()
class DistilledTimmClassifier(TimmClassifier):
    """A timm classifier with a second head, which learns the class that a teacher gives (hard distillation).

    loss = (1 - w) L(cls(x), y) + w CE(dist(x), argmax teacher(x))

    The teacher sees the pictures as the classifier does, augmented, mixed and normalised. It is made at the first step
    of a training, and is no part of the weights: nothing but a training needs it.

    Args:
        teacher: Arguments of `timm.create_model` for the teacher, its weights among them (`pretrained`).
        distill_weight: w, between 0 and 1.
        **kwargs: Of mmpretrain's `TimmClassifier`; `loss` is L.

    Raises:
        ValueError: The classifier has no second head, timm does not know the teacher, or w is no share.

    Source: Touvron et al., DeiT, arXiv 2012.12877, equation 3.
    """

    def __init__(self, *args: Any, teacher: dict[str, Any], distill_weight: float = 0.5, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not hasattr(self.model, 'set_distilled_training'):
            raise ValueError(
                f'A DistilledTimmClassifier must have a second head, but {type(self.model).__name__} has none: use a '
                'variant that ends in _distill or _distilled.'
            )
        if not timm.is_model(teacher.get('model_name', '')):
            raise ValueError(f'teacher must have a model_name that timm knows, but is {dict(teacher)}.')
        if not 0 <= distill_weight <= 1:
            raise ValueError(f'distill_weight must be a share between 0 and 1, but is {distill_weight}.')
        enable: Any = self.model.set_distilled_training
        enable(True)
        self.teacher_settings, self.distill_weight = copy.deepcopy(dict(teacher)), distill_weight
        self._teacher: list[nn.Module] = []  # a list keeps it out of weights, averages and the optimizer

    def loss(self, inputs: Tensor, data_samples: list, **kwargs: Any) -> dict[str, Tensor]:
        """Both parts of the loss of a batch (B, C, H, W)."""
        cls, dist = self.model(inputs)
        labels = self.teacher(inputs).argmax(1)
        truth, w = self._get_loss(cls, data_samples, **kwargs)['loss'], self.distill_weight
        return {'loss_cls': (1 - w) * truth, 'loss_dist': w * F.cross_entropy(dist, labels)}

    @torch.no_grad()
    def teacher(self, inputs: Tensor) -> Tensor:
        """What the teacher gives of a batch (B, C, H, W): logits (B, classes).

        Raises:
            ValueError: The teacher has other classes than the classifier.
        """
        if not self._teacher:
            model = timm.create_model(**self.teacher_settings)
            if model.num_classes != self.model.num_classes:
                raise ValueError(
                    f'The teacher must have the {self.model.num_classes} classes of the classifier, but '
                    f'{self.teacher_settings["model_name"]} has {model.num_classes}.'
                )
            self._teacher.append(model.eval().requires_grad_(False).to(inputs.device))
        return self._teacher[0](inputs)
