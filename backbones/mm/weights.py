"""Models of a config, with weights."""

import copy
import os
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from backbones import unwrap

from .features import TimmFeatures
from .files import read_checkpoint

__all__ = ['build_model', 'drop_start', 'load_weights']

_START = ('init_cfg', 'pretrained', 'checkpoint_path')


def load_weights(model: nn.Module, path: str | os.PathLike) -> None:
    """Strictly load a checkpoint of mmengine, or a safetensors file of any float type, into a whole OpenMMLab model.

    The backbone's part may have the names of its official repository, as in published detectors.

    Raises:
        ValueError: The file cannot be read, or it belongs to another model.
    """
    state = unwrap(read_checkpoint(path))
    own = model.state_dict()
    backbone = getattr(model, 'backbone', None)
    inner = {key.removeprefix('backbone.'): value for key, value in state.items() if key.startswith('backbone.')}
    if isinstance(backbone, TimmFeatures) and inner and not inner.keys() & backbone.state_dict().keys():
        converted = backbone.convert(inner, os.fspath(path))
        state = {key: value for key, value in state.items() if not key.startswith('backbone.')}
        state |= {f'backbone.net.{key}': value for key, value in converted.items()}
    wrong = [key for key in own if key in state and state[key].shape != own[key].shape]
    missing, surplus = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if wrong or missing or surplus:
        raise ValueError(
            f'{path} must hold the weights of this {type(model).__name__}, but of its keys {len(missing)} are missing '
            f'{missing[:3]}, {len(surplus)} left over {surplus[:3]} and {len(wrong)} of another shape {wrong[:3]}: '
            'give the config that it was trained with.'
        )
    model.load_state_dict(state)


def drop_start(settings: Any) -> int:
    """Take the weights that timm's networks would start from out of a model's settings, in place.

    What is loaded afterwards covers them all, and their files may be gone by then.

    Returns:
        How many there were.
    """
    found = 0
    if isinstance(settings, dict):
        if str(settings.get('type')).endswith(('TimmClassifier', 'TimmFeatures')):
            found = sum(bool(settings.pop(key, None)) for key in _START)
        settings = list(settings.values())
    parts = settings if isinstance(settings, (list, tuple)) else ()
    return found + sum(map(drop_start, parts))


def build_model(config: str | os.PathLike | Config, checkpoint: str | os.PathLike | None = None) -> nn.Module:
    """Model of a config in eval mode on the CPU, with the weights of ``checkpoint``, ready for ``test_step``."""
    if not isinstance(config, Config):
        config = Config.fromfile(os.fspath(config))
    init_default_scope(config.get('default_scope', 'mmengine'))
    settings = copy.deepcopy(config.model)
    if checkpoint is not None:
        drop_start(settings)
    if 'data_preprocessor' in config:
        settings.setdefault('data_preprocessor', config.data_preprocessor)
    model = MODELS.build(settings)
    if checkpoint is not None:
        load_weights(model, checkpoint)
    return model.eval()
