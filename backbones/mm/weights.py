"""Checkpoints of OpenMMLab, and models of a config with them."""

import os

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner.checkpoint import get_torch_safe_globals
from torch import nn

import backbones

__all__ = ['build_model', 'load_weights', 'read_checkpoint']


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
