"""Vision backbones that plug into timm and OpenMMLab; importing this package registers them with timm."""

import importlib
from types import ModuleType

import timm

from . import models
from .checkpoints import load_checkpoint
from .keys import convert, unwrap

__version__ = '0.1.0'

__all__ = ['__version__', 'convert', 'list_models', 'load_checkpoint', 'unwrap']

_LAZY = ('deploy', 'mm', 'profile')  # rooms with dependencies of their own, imported on first use


def __getattr__(name: str) -> ModuleType:
    if name in _LAZY:
        return importlib.import_module(f'{__name__}.{name}')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def list_models() -> list[str]:
    """Names of every backbone of this project, as `timm.create_model` takes them."""
    return [
        name for name in timm.list_models() if timm.model_entrypoint(name).__module__.startswith(models.__name__ + '.')
    ]
