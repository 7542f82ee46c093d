"""timm models as OpenMMLab's backbones."""

import difflib
from collections.abc import Sequence
from typing import Any

import timm
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.layers import GroupNorm1, LayerNorm2d
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from backbones import unwrap
from backbones.base import FeatureGetterNet, StagedBackbone  # timm keeps the first in a private module

from .files import read_checkpoint

__all__ = ['TimmFeatures', 'feature_channels']

_OUT_NORMS: dict[str, type[nn.Module]] = {'layer': LayerNorm2d, 'group': GroupNorm1}

# Ways in which timm's models are told that the picture may have any size, tried in this order.
_ANY_SIZE_KWARGS = ({'strict_img_size': False}, {'dynamic_img_size': True}, {})


def feature_channels(model_name: str, out_indices: Sequence[int] | None = None, **kwargs) -> list[int]:
    """Channels of each feature level of a timm model: what a config writes into ``neck.in_channels``.

    >>> feature_channels('resnet18', out_indices=(1, 2, 3, 4))
    [64, 128, 256, 512]
    """
    return list(TimmFeatures(model_name, out_indices, **kwargs).channels)


def _create(model_name: str, **kwargs) -> Any:
    """``timm.create_model`` with sizes left open where the model can, and with errors a config writer can act on."""
    if not timm.is_model(model_name):
        near = difflib.get_close_matches(model_name, timm.list_models(), n=4, cutoff=0.4)
        hint = f'did you mean {", ".join(near)}?' if near else 'timm.list_models() gives every name.'
        raise ValueError(f'model_name must be a name that timm knows, got {model_name!r}; {hint}')
    for switch in _ANY_SIZE_KWARGS:
        extra: dict[str, Any] = {key: value for key, value in switch.items() if key not in kwargs}
        try:
            model: Any = timm.create_model(model_name, **kwargs, **extra)
        except (TypeError, ValueError) as error:
            if extra and next(iter(extra)) in str(error):
                continue  # this model has no such switch
            if isinstance(error, TypeError) and 'unexpected keyword' in str(error):
                raise ValueError(f'{model_name} takes no such argument: {error}') from error
            raise
        break
    module: Any
    for module in model.modules():  # patch embeddings that are not strict still ask for whole patches: let them pad
        if getattr(module, 'strict_img_size', True) is False and hasattr(module, 'dynamic_img_pad'):
            module.dynamic_img_pad = True
    return model


@MODELS.register_module()
class TimmFeatures(BaseModule):
    """Feature pyramid of any timm model as an OpenMMLab backbone.

    Args:
        model_name: A name from ``timm.list_models()``, with or without a pretrained tag.
        out_indices: Feature levels to return, negative ones count from the last; ``None`` returns all.
        pretrained: Load the published weights through timm (downloads).
        checkpoint_path: Local checkpoint of the whole model, loaded when the model is built.
        frozen_stages: -1 freezes nothing, 0 the stem, n the stem and the first n stages.
        norm_eval: Keep every batch norm in eval mode while training (its affine weights still learn).
        with_cp: Gradient checkpointing: recompute activations in the backward pass to save memory.
        drop_path_rate: Stochastic depth, a probability; ``None`` leaves the model's own.
        in_chans: Channels of the input picture.
        out_norm: 'layer' or 'group' gives every map a new norm, over the channels of each place (as Swin's detectors
            have it) or over a whole picture (as PoolFormer's); it is in no file of ImageNet weights.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH, prefix='backbone.')``: weights of timm, of an official
            repository of one of our families, or of an mmengine checkpoint (``prefix`` is found when left out).
        **kwargs: Further arguments of the timm model.

    Shape: (B, in_chans, H, W) -> one (B, channels[i], ceil(H / strides[i]), ceil(W / strides[i])) per level,
    always channels first, in memory too.

    Raises:
        ValueError: unknown model name, level out of range, or an argument that the model does not take.
    """

    def __init__(
        self,
        model_name: str,
        out_indices: Sequence[int] | None = None,
        pretrained: bool = False,
        checkpoint_path: str = '',
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        drop_path_rate: float | None = None,
        in_chans: int = 3,
        out_norm: str | None = None,
        init_cfg: dict | None = None,
        **kwargs,
    ):
        if out_norm not in (None, *_OUT_NORMS):
            raise ValueError(f"out_norm must be 'layer', 'group' or None, got {out_norm!r}")
        if init_cfg and (init_cfg.get('type') != 'Pretrained' or not init_cfg.get('checkpoint')):
            raise ValueError(f"init_cfg must be dict(type='Pretrained', checkpoint=PATH), got {init_cfg}")
        if bool(pretrained) + bool(checkpoint_path) + bool(init_cfg) > 1:
            raise ValueError('give one source of weights: pretrained, checkpoint_path or init_cfg')
        super().__init__(init_cfg=None)  # init_weights below is ours: mmengine's loader would accept missing keys
        self._weights = dict(init_cfg) if init_cfg else None
        self._build: dict[str, Any] = {'in_chans': in_chans, **kwargs}
        if drop_path_rate is not None:
            self._build['drop_path_rate'] = drop_path_rate
        self.model_name, self.in_chans = model_name, in_chans
        self.norm_eval = norm_eval

        self.net: Any  # a timm model
        model = _create(model_name, pretrained=pretrained, **self._build)
        if getattr(model, 'clips', False):
            raise ValueError(
                f'TimmFeatures takes pictures (B, C, H, W), but {model_name} takes clips (B, T, C, H, W): give '
                'clips=False to show it each picture at every time step, or a model of pictures.'
            )
        self._all_keys = set(model.state_dict())
        self.out_indices = _check_levels(model, model_name, out_indices)
        if with_cp:
            _enable_checkpointing(model, model_name)
        layers = _layers(model) if frozen_stages >= 0 else {}  # before the prune, which may drop the matcher's anchors
        self._takes_levels = hasattr(model, 'forward_intermediates')
        if self._takes_levels:
            getter = FeatureGetterNet(model, out_indices=self.out_indices, norm=getattr(model, 'feature_norm', False))
            self.net, self.feature_info = getter.model, getter.feature_info
            self._levels, self._norm = getter.out_indices, getter.norm
            if hasattr(self.net, 'reset_classifier'):
                self.net.reset_classifier(0)  # a head without gradient would stall distributed training
        else:
            self.net = _create(
                model_name, features_only=True, out_indices=self.out_indices, pretrained=pretrained, **self._build
            )
            self.feature_info = self.net.feature_info
        self.channels: tuple[int, ...] = tuple(self.feature_info.channels())
        self.strides: tuple[int, ...] = tuple(self.feature_info.reduction())
        self.norms = nn.ModuleList(_OUT_NORMS[out_norm](count, eps=1e-5) for count in self.channels if out_norm)
        if checkpoint_path:
            self._load(checkpoint_path, prefix=None)
        self._frozen = self._freeze(layers, frozen_stages)
        self.train(self.training)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if self._takes_levels:
            maps = self.net.forward_intermediates(
                x, indices=self._levels, norm=self._norm, output_fmt='NCHW', intermediates_only=True
            )
        else:
            maps = self.net(x)
            if str(getattr(self.net, 'output_fmt', 'NCHW')).endswith('NHWC'):
                maps = [m.permute(0, 3, 1, 2) for m in maps]
        if self.norms:
            maps = [norm(m) for norm, m in zip(self.norms, maps, strict=True)]
        return tuple(m.contiguous() for m in maps)  # mmcv's operators read memory so, whatever the strides

    def train(self, mode: bool = True) -> 'TimmFeatures':
        super().train(mode)
        if mode:
            for name in self._frozen if hasattr(self, '_frozen') else ():
                self.net.get_submodule(name).eval()
            if self.norm_eval:
                for module in self.modules():
                    if isinstance(module, _BatchNorm):
                        module.eval()
        return self

    def init_weights(self) -> None:
        """Load the weights of ``init_cfg``; without it timm has initialised the model already."""
        if self._weights and not self.is_init:
            self._load(self._weights['checkpoint'], self._weights.get('prefix'))
        self.is_init = True

    def group_matcher(self, coarse: bool = False):
        """timm's layer matcher, for layer-wise learning rates (its names are those below ``net.``)."""
        return self.net.group_matcher(coarse=coarse)

    def no_weight_decay(self) -> set[str]:
        return set(self.net.no_weight_decay()) if hasattr(self.net, 'no_weight_decay') else set()

    def _freeze(self, layers: dict[str, int], stages: int) -> list[str]:
        """Stop the gradient of the stem (layer 0) and the first ``stages`` layers; names of modules now constant."""
        if stages < 0:
            return []
        last = max(layers.values(), default=0)
        if stages > last:
            raise ValueError(f'frozen_stages must be at most {last} for {self.model_name}, got {stages}')
        for name, parameter in self.net.named_parameters():
            if layers.get(name, stages + 1) <= stages:
                parameter.requires_grad_(False)
        constant = []
        for name, module in self.net.named_modules():
            parameters = list(module.parameters())
            if name and parameters and not any(p.requires_grad for p in parameters):
                constant.append(name)
        return constant

    def _load(self, path: str, prefix: str | None) -> None:
        """Strictly load ``path``; keys of pruned levels and of the head may be there, nothing else may be over."""
        state = _strip(unwrap(read_checkpoint(path), getattr(self.net, 'published', '')), prefix, path)
        norms = {key: state.pop(f'norms.{key}') for key in self.norms.state_dict() if f'norms.{key}' in state}
        self.net.load_state_dict(self.convert(state, path), strict=True)
        if norms:
            self.norms.load_state_dict(norms, strict=True)

    def convert(self, state: dict[str, Tensor], path: str) -> dict[str, Tensor]:
        """Weights of ``net`` out of those of timm's model or of an official repository.

        Args:
            state: Their names and tensors, those of a whole model or without its head.
            path: Name of the file, for messages.

        Raises:
            ValueError: They do not fit.
        """
        own = self.net.state_dict()
        if own.keys() <= state.keys() and all(state[key].shape == value.shape for key, value in own.items()):
            surplus = sorted(state.keys() - own.keys() - self._all_keys)
        else:  # another layout: timm converts it while it fills a whole model, whose weights we take over
            headless = isinstance(self.net, StagedBackbone)  # ours convert for any classes
            build = {**self._build, **({'num_classes': 0} if headless else {})}
            try:
                donor = _create(self.model_name, pretrained=True, pretrained_cfg_overlay={'state_dict': state}, **build)
            except (RuntimeError, ValueError, KeyError) as error:
                raise ValueError(f'{path} holds no weights of {self.model_name}: {error}') from error
            state, surplus = donor.state_dict(), []
        if surplus:
            raise ValueError(f'{path} holds no weights of {self.model_name}; keys left over: {surplus[:8]}')
        return {key: state[key] for key in own}


def _check_levels(model: Any, model_name: str, out_indices: Sequence[int] | None) -> tuple[int, ...]:
    count = len(model.feature_info)
    levels = tuple(range(count)) if out_indices is None else tuple(out_indices)
    if not levels or any(not -count <= i < count for i in levels):
        raise ValueError(f'out_indices must lie in [{-count}, {count - 1}] for {model_name}, got {out_indices}')
    levels = tuple(i % count for i in levels)
    if list(levels) != sorted(set(levels)):
        raise ValueError(f'out_indices must rise and not repeat, got {out_indices}')
    return levels


def _enable_checkpointing(model: Any, model_name: str) -> None:
    try:
        model.set_grad_checkpointing(True)
    except (AttributeError, AssertionError) as error:
        raise ValueError(f'{model_name} has no gradient checkpointing; set with_cp=False') from error


def _layers(model: Any) -> dict[str, int]:
    """Parameter name -> coarse layer number (0 is the stem)."""
    if not hasattr(model, 'group_matcher'):
        raise ValueError(f'frozen_stages needs a model with group_matcher, {type(model).__name__} has none')
    return group_parameters(model, model.group_matcher(coarse=True), reverse=True)


def _strip(state: dict, prefix: str | None, path: str) -> dict[str, Tensor]:
    """State dict of the bare model out of that of what may be a whole detector."""
    if prefix is None:
        prefix = 'backbone.' if any(key.startswith('backbone.') for key in state) else ''
    if prefix:
        state = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
        if not state:
            raise ValueError(f'{path} has no key that starts with the prefix {prefix!r}')
    if state and all(key.startswith(('net.', 'norms.')) for key in state):  # the wrapper's own
        state = {key.removeprefix('net.'): value for key, value in state.items()}
    return state
