"""The OpenMMLab bridge: timm backbones for mmdetection, mmsegmentation and mmpretrain.

Import it through a config, nothing else is needed::

    custom_imports = dict(imports=['backbones.mm'], allow_failed_imports=False)
    model = dict(backbone=dict(type='TimmFeatures', model_name='lsnet_t'), neck=dict(in_channels=[64, 128, 256, 384]))

Only mmengine is required. It is the one file of the package that imports OpenMMLab; no model family is named here.
For classification use mmpretrain's own ``TimmClassifier``, which takes the same model names.
"""

import difflib
import functools
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.dataset import worker_init_fn
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import EMAHook, Hook
from mmengine.model import BaseModule
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import (
    DATASETS,
    HOOKS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    init_default_scope,
)
from mmengine.runner import IterBasedTrainLoop, set_random_seed
from mmengine.runner.checkpoint import get_torch_safe_globals
from mmengine.utils import is_installed
from timm.layers import GroupNorm1, LayerNorm2d
from timm.models import group_parameters
from timm.utils import adaptive_clip_grad
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import backbones
from backbones.base import FeatureGetterNet, StagedBackbone  # timm keeps the first in a private module

try:
    from mmdet.models.necks import FPN
except ImportError:  # mmdet is optional: without it there is no pyramid to extend
    FPN = None

__all__ = [
    'AdaptiveClipOptimWrapper',
    'ChannelsLastHook',
    'ClassifierEMAHook',
    'ResumeExactHook',
    'TimmFeatures',
    'TimmLayerDecayConstructor',
    'WholeFileBackend',
    'build_model',
    'feature_channels',
    'load_weights',
    'read_checkpoint',
    'without_pictures',
]

# mmengine looks `mmseg::` bases up by the distribution's name, which onedl-mmsegmentation does not have; the
# module's name finds both. It takes effect where this module is imported before a config is read, as our tools do.
if not is_installed('mmsegmentation') and is_installed('mmseg'):
    MODULE2PACKAGE['mmseg'] = 'mmseg'

_OUT_NORMS: dict[str, type[nn.Module]] = {'layer': LayerNorm2d, 'group': GroupNorm1}

# Ways in which timm's models are told that the picture may have any size, tried in this order.
_ANY_SIZE_KWARGS = ({'strict_img_size': False}, {'dynamic_img_size': True}, {})


def feature_channels(model_name: str, out_indices: Sequence[int] | None = None, **kwargs) -> list[int]:
    """Channels of each feature level of a timm model: what a config writes into ``neck.in_channels``.

    >>> feature_channels('resnet18', out_indices=(1, 2, 3, 4))
    [64, 128, 256, 512]
    """
    return list(TimmFeatures(model_name, out_indices, **kwargs).channels)


def read_checkpoint(path: str | os.PathLike) -> dict:
    """Read a checkpoint of mmengine, timm, safetensors or an official repository without running code from it.

    Unlike mmengine's own reader this one never falls back to full unpickling.

    Raises:
        ValueError: the file is missing, truncated, or holds objects other than tensors, numbers and log buffers.
    """
    numbers = np.typecodes['AllInteger'] + np.typecodes['Float'] + '?'  # what logged scores may be
    dtypes = {type(np.dtype(code)) for code in numbers}
    with torch.serialization.safe_globals([*get_torch_safe_globals(), *dtypes]):
        return backbones.load_checkpoint(path)


def load_weights(model: nn.Module, path: str | os.PathLike) -> None:
    """Strictly load a checkpoint of mmengine, or a safetensors file of any float type, into a whole OpenMMLab model.

    Raises:
        ValueError: The file cannot be read, or it belongs to another model.
    """
    state = read_checkpoint(path)
    state = state.get('state_dict', state)
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    own = model.state_dict()
    wrong = [key for key in own if key in state and state[key].shape != own[key].shape]
    missing, surplus = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if wrong or missing or surplus:
        raise ValueError(
            f'{path} must hold the weights of this {type(model).__name__}, but of its keys {len(missing)} are missing '
            f'{missing[:3]}, {len(surplus)} left over {surplus[:3]} and {len(wrong)} of another shape {wrong[:3]}: '
            'give the config that it was trained with.'
        )
    model.load_state_dict(state)


def build_model(config: str | os.PathLike | Config, checkpoint: str | os.PathLike | None = None) -> nn.Module:
    """Model of a config in eval mode on the CPU, with the weights of ``checkpoint``, ready for ``test_step``."""
    if not isinstance(config, Config):
        config = Config.fromfile(os.fspath(config))
    init_default_scope(config.get('default_scope', 'mmengine'))
    settings = config.model.copy()
    if 'data_preprocessor' in config:
        settings.setdefault('data_preprocessor', config.data_preprocessor)
    model = MODELS.build(settings)
    if checkpoint is not None:
        load_weights(model, checkpoint)
    return model.eval()


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
    always channels first.

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
        self.model_name = model_name
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
            getter = FeatureGetterNet(model, out_indices=self.out_indices)
            self.net, self.feature_info = getter.model, getter.feature_info
            self._levels = getter.out_indices
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
                x, indices=self._levels, norm=False, output_fmt='NCHW', intermediates_only=True
            )
        else:
            maps = self.net(x)
            if str(getattr(self.net, 'output_fmt', 'NCHW')).endswith('NHWC'):
                maps = [m.permute(0, 3, 1, 2) for m in maps]
        maps = [m.contiguous() if m.ndim == 4 and not _dense(m) else m for m in maps]
        return tuple(norm(m) for norm, m in zip(self.norms, maps, strict=True)) if self.norms else tuple(maps)

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
        state = _strip(read_checkpoint(path), prefix, path)
        norms = {key: state.pop(f'norms.{key}') for key in self.norms.state_dict() if f'norms.{key}' in state}
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
        self.net.load_state_dict({key: state[key] for key in own}, strict=True)
        if norms:
            self.norms.load_state_dict(norms, strict=True)


def _dense(x: Tensor) -> bool:
    return x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)


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
    """State dict of the bare model out of a checkpoint that may hold a whole detector."""
    for container in ('state_dict', 'model'):
        if isinstance(state.get(container), dict):
            state = state[container]
    if prefix is None:
        prefix = 'backbone.' if any(key.startswith('backbone.') for key in state) else ''
    if prefix:
        state = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
        if not state:
            raise ValueError(f'{path} has no key that starts with the prefix {prefix!r}')
    if state and all(key.startswith(('net.', 'norms.')) for key in state):  # the wrapper's own
        state = {key.removeprefix('net.'): value for key, value in state.items()}
    return state


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TimmLayerDecayConstructor(DefaultOptimWrapperConstructor):
    """Layer-wise learning rates through timm's ``group_matcher``.

    A parameter of layer l of L has the rate ``lr * layer_decay_rate ** (L - l)``; whatever lies outside the backbone
    (neck, heads) and a classifier that ends it (l = L) keeps the full ``lr``. One-dimensional parameters (norms,
    biases) and those of the backbone's ``no_weight_decay()`` have no weight decay.

    Use: ``optim_wrapper=dict(constructor='TimmLayerDecayConstructor', paramwise_cfg=dict(layer_decay_rate=0.8), ...)``

    Source: H. Bao et al., BEiT, arXiv 2106.08254.
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if set(self.paramwise_cfg) - {'layer_decay_rate'} or not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise ValueError(
                f'paramwise_cfg must be dict(layer_decay_rate=r) with 0 < r <= 1, got {self.paramwise_cfg}'
            )

    def add_params(self, params: list[dict], module: nn.Module, **kwargs) -> None:
        scales, exempt = _layer_scales(module, self.paramwise_cfg['layer_decay_rate'])
        groups: dict[tuple[float, bool], dict] = {}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            scale = scales.get(name, 1.0)
            decays = parameter.ndim > 1 and name not in exempt
            if (scale, decays) not in groups:
                groups[scale, decays] = {'params': [], 'lr': self.base_lr * scale, 'lr_scale': scale}
                groups[scale, decays]['weight_decay'] = (self.base_wd or 0.0) if decays else 0.0
            groups[scale, decays]['params'].append(parameter)
        params.extend(groups.values())


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


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keeps the maps of a training with their channels last in memory, where convolutions are faster that way."""

    def before_run(self, runner: Any) -> None:
        """Maps take the order of the weights that made them."""
        runner.model.to(memory_format=torch.channels_last)


@HOOKS.register_module()
class ClassifierEMAHook(EMAHook):
    """mmengine's averaged weights, for mmpretrain's ``TimmClassifier``.

    That class leaves ``model.`` out of its keys, but not inside the hook's copy, since torch takes renamed keys
    of the outermost module alone; mmengine's hook then fails when it saves. Here the copy names its weights as the
    model does.
    """

    def before_run(self, runner) -> None:
        super().before_run(runner)
        own = self.src_model.state_dict().keys()

        def renamed(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: dict) -> dict[str, Tensor]:
            names = {key: key.replace('module.model.', 'module.', 1) for key in state}
            return {names[k] if names[k].removeprefix('module.') in own else k: v for k, v in state.items()}

        self.ema_model._register_state_dict_hook(renamed)


@HOOKS.register_module()
class ResumeExactHook(Hook):
    """Makes a training that is resumed end with the weights, to the bit, of one that was never stopped.

    Random numbers begin anew with every epoch, from the run's seed and the number of the epoch, in the process and in
    its workers; in a loop of iterations with every iteration. So no checkpoint need hold their state.

    This holds on one kind of device whose kernels are deterministic, for the same number of processes, workers and
    threads, for checkpoints at the end of an epoch (in a loop of iterations: at any) and of whole accumulated steps. It
    does not hold for workers that live on between epochs (``persistent_workers``; ``tools/train.py`` turns them off),
    for workers in a loop of iterations, whose augmentations go on from new random numbers, nor for what mmengine leaves
    out of its checkpoints: the patience that ``EarlyStoppingHook`` has used up, and the score of an epoch whose
    validation was cut short.
    """

    priority = 'VERY_LOW'  # behind whatever other hooks draw

    def before_train_epoch(self, runner: Any) -> None:
        loader = runner.train_dataloader
        by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop)
        step = runner.iter if by_iteration else runner.epoch
        start = loader.worker_init_fn
        if isinstance(start, functools.partial) and start.func is worker_init_fn:
            loader.worker_init_fn = functools.partial(start, seed=_seed_of(runner, step))
        # An iterator draws the seed of its workers when it begins, which is at another time in a resumed training.
        loader.generator = torch.Generator().manual_seed(_seed_of(runner, step))
        set_random_seed(_seed_of(runner, step))

    def after_train_iter(self, runner: Any, *args, **kwargs) -> None:
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            set_random_seed(_seed_of(runner, runner.iter + 1))

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            set_random_seed(_seed_of(runner, runner.iter))


def _seed_of(runner: Any, step: int) -> int:
    """Seed of an epoch or iteration; numpy's hash keeps the streams of neighbours apart."""
    return int(np.random.SeedSequence([runner.seed, step]).generate_state(1)[0] >> 1)  # room for a worker's number


@DATASETS.register_module()
def without_pictures(dataset: dict, left_out: Sequence[str]) -> Any:
    """Build a data set of mmengine and leave out the items whose picture or class map is one of these files."""
    built = DATASETS.build(dataset)
    built.full_init()
    infos = (built.get_data_info(i) for i in range(len(built)))
    files = set(left_out)
    built.get_subset_([i for i, info in enumerate(infos) if not files & {info['img_path'], info.get('seg_map_path')}])
    return built


class WholeFileBackend(LocalBackend):
    """mmengine's local files, written beside their target and renamed: a crash never leaves half a checkpoint.

    Use: ``default_hooks=dict(checkpoint=dict(backend_args=dict(backend='whole_file')))`` (``tools/train.py`` sets it).
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        target = Path(filepath)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=target.parent, prefix=f'.{target.name}.')
        try:
            with os.fdopen(handle, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(part, 0o644)
            os.replace(part, target)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        self.put(obj.encode(encoding), filepath)


register_backend('whole_file', WholeFileBackend, force=True)


if FPN is not None:

    @MODELS.register_module()
    class TransposedConvFPN(FPN):
        """mmdet's FPN with finer levels, grown from its finest merged lateral by transposed 2x2 convolutions.

        Gives a backbone whose first map is coarse (stride 8) the fine level (stride 4) that two-stage detectors want.

        Args:
            num_extra_trans_convs: Finer levels to add; ``num_outs`` must be the number of laterals plus this.
            **kwargs: Arguments of mmdet's ``FPN``; extra coarse levels are not offered.

        Shape: maps at strides s, 2s, ... -> the same plus s / 2, ... in front, ``out_channels`` each.

        Source: Wang et al., LSNet, arXiv 2503.23135 (detection code).
        """

        def __init__(self, *args, num_extra_trans_convs: int = 1, num_outs: int, **kwargs):
            super().__init__(*args, num_outs=num_outs - num_extra_trans_convs, **kwargs)
            laterals = len(self.lateral_convs)
            if num_extra_trans_convs < 1 or num_outs != laterals + num_extra_trans_convs:
                raise ValueError(
                    f'num_outs must be the {laterals} laterals plus num_extra_trans_convs (at least 1), '
                    f'got num_outs={num_outs} and num_extra_trans_convs={num_extra_trans_convs}'
                )
            width = self.out_channels
            self.trans_convs = nn.ModuleList(
                nn.ConvTranspose2d(width, width, kernel_size=2, stride=2) for _ in range(num_extra_trans_convs)
            )
            # Appended, so that the convolutions of the ordinary levels keep mmdet's numbers.
            self.fine_convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(num_extra_trans_convs))

        def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
            maps = [conv(inputs[self.start_level + i]) for i, conv in enumerate(self.lateral_convs)]
            for i in range(len(maps) - 1, 0, -1):
                maps[i - 1] = maps[i - 1] + F.interpolate(maps[i], size=maps[i - 1].shape[-2:], **self.upsample_cfg)
            outs = [conv(x) for conv, x in zip(self.fpn_convs, maps, strict=True)]
            x = maps[0]
            for grow, smooth in zip(self.trans_convs, self.fine_convs, strict=True):
                x = grow(x)
                outs.insert(0, smooth(x))
            return tuple(outs)

    __all__.append('TransposedConvFPN')
