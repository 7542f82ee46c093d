"""Learning rates by layer, and clipping."""

from typing import Any

from mmengine.optim import AmpOptimWrapper, DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from timm.models import group_parameters
from timm.utils import adaptive_clip_grad
from torch import nn

__all__ = ['AdaptiveClipAmpOptimWrapper', 'AdaptiveClipOptimWrapper', 'TimmLayerDecayConstructor']

_HOLDS_ANYWAY = ('norm_decay_mult', 'bias_decay_mult', 'flat_decay_mult')  # at 0


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TimmLayerDecayConstructor(DefaultOptimWrapperConstructor):
    """Layer-wise learning rates through timm's ``group_matcher``.

    A parameter of layer l of L has the rate ``lr * layer_decay_rate ** (L - l)``; whatever lies outside the backbone
    (neck, heads) and a classifier that ends it (l = L) keeps the full ``lr``. One-dimensional parameters (norms,
    biases) and those of the backbone's ``no_weight_decay()`` have no weight decay. ``custom_keys`` of mmengine multiply
    the rates and decays that come of this; its other settings may say what holds anyway, as many configs do.

    Use: ``optim_wrapper=dict(constructor='TimmLayerDecayConstructor', paramwise_cfg=dict(layer_decay_rate=0.8), ...)``

    Source: H. Bao et al., BEiT, arXiv 2106.08254.
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        rest = dict(self.paramwise_cfg)
        rate = rest.pop('layer_decay_rate', None)
        given = [key for settings in rest.pop('custom_keys', {}).values() for key in settings]
        rest = {key: value for key, value in rest.items() if key not in _HOLDS_ANYWAY or value != 0}
        if rest or {*given} - {'lr_mult', 'decay_mult'} or not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise ValueError(
                'paramwise_cfg must be dict(layer_decay_rate=r) with 0 < r <= 1, besides at most custom_keys of '
                f'lr_mult and decay_mult, and {", ".join(_HOLDS_ANYWAY)} of 0, got {self.paramwise_cfg}: set '
                'paramwise_cfg=dict(_delete_=True, layer_decay_rate=r), which takes out what the config has'
            )

    def add_params(self, params: list[dict], module: nn.Module, **kwargs) -> None:
        scales, exempt = _layer_scales(module, self.paramwise_cfg['layer_decay_rate'])
        groups: dict[tuple[float, float], dict] = {}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            custom = self._custom(name)
            scale = scales.get(name, 1.0) * custom.get('lr_mult', 1.0)
            decays = parameter.ndim > 1 and name not in exempt
            decay = (self.base_wd or 0.0) * custom.get('decay_mult', 1.0) if decays else 0.0
            group = {'params': [], 'lr': self.base_lr * scale, 'lr_scale': scale, 'weight_decay': decay}
            groups.setdefault((scale, decay), group)['params'].append(parameter)
        params.extend(groups.values())

    def _custom(self, name: str) -> dict[str, float]:
        """What the longest of mmengine's ``custom_keys`` in a parameter's name says."""
        keys = self.paramwise_cfg.get('custom_keys', {})
        found = sorted((key for key in keys if key in name), key=lambda key: (-len(key), key))
        return keys[found[0]] if found else {}


def _layer_scales(module: nn.Module, rate: float) -> tuple[dict[str, float], set[str]]:
    """Learning rate scale of every parameter of a timm model inside ``module``, and the names that must not decay."""
    scales: dict[str, float] = {}
    exempt: set[str] = set()
    found: list[str] = []
    for prefix, part in module.named_modules():
        inside = any(prefix.startswith(outer + '.') or outer == '' for outer in found)
        if inside or not hasattr(part, 'group_matcher'):
            continue
        found.append(prefix)
        model: Any = getattr(part, 'net', part)  # the names that timm's matcher knows begin below our wrapper
        start = '.'.join(filter(None, (prefix, 'net' if model is not part else ''))) + '.'
        start = '' if start == '.' else start
        layers: Any = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
        ends_in_classifier = isinstance(getattr(model, 'num_classes', 0), int) and getattr(model, 'num_classes', 0) > 0
        top = max(layers.values()) + (0 if ends_in_classifier else 1)
        scales.update({start + name: rate ** (top - layer) for name, layer in layers.items()})
        listed = set(model.no_weight_decay()) if hasattr(model, 'no_weight_decay') else set()
        exempt |= {start + name for name in layers if name in listed or name.split('.')[-1] in listed}
    if not found:
        raise ValueError(
            'layer-wise decay needs a backbone with group_matcher (TimmFeatures, TimmClassifier); found none'
        )
    return scales, exempt


@OPTIM_WRAPPERS.register_module()
class AdaptiveClipOptimWrapper(OptimWrapper):
    """Clip each unit's gradient to ``clip_factor`` times the norm of its own weights, by timm's implementation.

    Source: Brock et al., High-Performance Large-Scale Image Recognition Without Normalization, arXiv 2102.06171.
    """

    def __init__(self, *args, clip_factor: float, **kwargs):
        super().__init__(*args, **kwargs)
        if not clip_factor > 0 or self.clip_grad_kwargs:
            raise ValueError(f'give a positive clip_factor and no clip_grad, got {clip_factor} and {kwargs}')
        self.clip_factor = clip_factor

    def step(self, **kwargs) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None]
        adaptive_clip_grad(parameters, self.clip_factor)
        super().step(**kwargs)


@OPTIM_WRAPPERS.register_module()
class AdaptiveClipAmpOptimWrapper(AdaptiveClipOptimWrapper, AmpOptimWrapper):
    """The same in mixed precision, whose scaled losses give scaled gradients: they are clipped at their true size."""

    def step(self, **kwargs) -> None:
        self.loss_scaler.unscale_(self.optimizer)
        super().step(**kwargs)
