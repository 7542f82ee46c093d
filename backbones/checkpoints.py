"""Weight files: read them without running what they hold, hold them against their hash, write them whole.

`checkpoints/index.yaml` lists the files that this project trained and the published ones whose origin is known.
"""

import argparse
import hashlib
import os
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml

__all__ = ['INDEX', 'catalogue', 'load_checkpoint', 'plain_settings', 'save_checkpoint', 'sha256']

INDEX = Path(__file__).parents[1] / 'checkpoints' / 'index.yaml'


class _Inert:
    """Stands for a class of settings while a file is read, and makes a plain mapping, whatever it is given."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return OrderedDict()


# What trainings keep their settings in: yacs (MS-MLP) and OmegaConf (GLNet, SpaRTAN), with the types those name.
_NAMES = (
    'yacs.config.CfgNode',
    *(
        f'omegaconf.{n}'
        for n in ('dictconfig.DictConfig', 'listconfig.ListConfig', 'base.ContainerMetadata', 'base.Metadata')
    ),
    *(f'omegaconf.nodes.{kind}Node' for kind in ('Any', 'Boolean', 'Float', 'Integer', 'String')),
    *(f'builtins.{name}' for name in ('bool', 'dict', 'float', 'int', 'list', 'str', 'tuple')),
    'collections.defaultdict',
    'typing.Any',
)
_SETTINGS: dict[str, Any] = {'argparse.Namespace': argparse.Namespace, **dict.fromkeys(_NAMES, _Inert)}


def plain_settings() -> AbstractContextManager:
    """A context in which `torch.load(..., weights_only=True)` takes settings of trainings too.

    Nothing of the packages that wrote them is imported or run: `argparse.Namespace` is read as it is, all else as plain
    mappings, of OmegaConf's without what is in them. Settings that hold other objects, or are a class of the training's
    own, are refused as before.
    """
    entries = torch.serialization.get_safe_globals()
    allowed = {e[1] if isinstance(e, tuple) else f'{e.__module__}.{e.__qualname__}' for e in entries}  # they stay
    return torch.serialization.safe_globals([(cls, name) for name, cls in _SETTINGS.items() if name not in allowed])


def load_checkpoint(path: str | os.PathLike, hash_prefix: str | None = None) -> dict[str, Any]:
    """Read a weight file on the CPU and run nothing that it holds.

    Args:
        path: `.safetensors` file, or a file of `torch.save` with tensors, plain containers and settings of the training
            (see `plain_settings`).
        hash_prefix: First digits of the SHA-256 that the file must have; that of `INDEX` is used for a file listed
            there.

    Returns:
        What the file holds: a state dict, or a training checkpoint with one inside (`backbones.convert` takes both).

    Raises:
        ValueError: There is no such file, it is not whole, it is no weight file, it would run code, or it has another
            hash.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f'A checkpoint must be a file, but there is none at {path}: check the path.')
    expected = hash_prefix or next((row['sha256'] for row in catalogue() if row.get('file') == path.name), None)
    if expected and not (found := sha256(path)).startswith(expected.lower()):
        raise ValueError(
            f'{path} must have a SHA-256 that starts with {expected}, but has {found}: fetch it again, since it is '
            'broken or another file.'
        )
    try:
        if path.suffix == '.safetensors':
            return safetensors.torch.load_file(path)
        with plain_settings():
            checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f'{path} must hold tensors and plain containers alone, but it is no weight file or asks to run code; '
            'nothing in it was run. Give another file.'
        ) from error
    except (
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        safetensors.SafetensorError,
    ) as error:
        raise ValueError(
            f'{path} must be a whole weight file, but reading it failed ({_first_line(error)}): fetch or save it again.'
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise ValueError(f'{path} must hold a mapping of names to tensors, but holds a {type(checkpoint).__name__}.')
    return dict(checkpoint)


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def save_checkpoint(
    state: Mapping[str, torch.Tensor], path: str | os.PathLike, metadata: Mapping[str, str] | None = None
) -> str:
    """Write a state dict as safetensors, beside its target first, so that a whole file is never lost.

    Args:
        state: Names and tensors.
        path: Target, `.safetensors`.
        metadata: Text to keep in the file's header.

    Returns:
        SHA-256 of the file.
    """
    path = Path(path)
    beside = path.with_name(path.name + '.part')
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    safetensors.torch.save_file(tensors, beside, metadata=dict(metadata or {}))
    beside.chmod(0o644)  # safetensors makes files that their owner alone may read
    digest = sha256(beside)
    os.replace(beside, path)
    return digest


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, 'rb') as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def catalogue(path: str | os.PathLike = INDEX) -> list[dict[str, Any]]:
    """Rows of the catalogue of weights; empty where the package is installed without it.

    Each row names its `file` or `url`, the `model` it belongs to, its `licence`, and `sha256` where it is known.
    """
    path = Path(path)
    return yaml.safe_load(path.read_text())['checkpoints'] if path.is_file() else []
