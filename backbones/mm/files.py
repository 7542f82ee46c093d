"""Files of a training: checkpoints, written whole and read without running them; data sets without broken pictures."""

import os
import pickle
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import HistoryBuffer
from mmengine.registry import DATASETS
from mmengine.runner.checkpoint import get_torch_safe_globals

import backbones

__all__ = ['WholeFileBackend', 'read_checkpoint', 'without_pictures']


def _statistic(owner: type, name: str) -> Any:
    """What stands for `getattr` in a checkpoint: a method of a logged score, by which pickle names it, and no more.

    `getattr` itself, which mmengine allows, reaches the globals of functions, and so whatever is to be run.
    """
    if owner is not HistoryBuffer or name.startswith('_'):
        raise pickle.UnpicklingError(f'{name} of {owner} is no score')
    return getattr(owner, name)


_NUMBERS = np.typecodes['AllInteger'] + np.typecodes['Float'] + '?'  # what logged scores may be
_PLAIN = {*get_torch_safe_globals(), *(type(np.dtype(code)) for code in _NUMBERS)} - {getattr}
# What mmengine's checkpoints hold besides tensors, for timm too, when it starts from one. Named, since mmengine takes
# what it allows for a moment, and does not name, away again.
_NAMED = [(kind, f'{kind.__module__}.{kind.__qualname__}') for kind in _PLAIN]
torch.serialization.add_safe_globals([*_NAMED, (_statistic, 'builtins.getattr')])


def read_checkpoint(path: str | os.PathLike) -> dict:
    """Read a checkpoint of mmengine, timm, safetensors or an official repository without running code from it.

    Unlike mmengine's own reader this one never falls back to full unpickling.

    Raises:
        ValueError: the file is missing, truncated, or holds objects other than tensors, numbers and log buffers.
    """
    return backbones.load_checkpoint(path)


@DATASETS.register_module()
def without_pictures(dataset: dict, left_out: Sequence[str]) -> Any:
    """Build a data set of mmengine and leave out the items whose picture or class map is one of these files."""
    built = DATASETS.build(dataset)
    built.full_init()
    infos = (built.get_data_info(i) for i in range(len(built)))
    files = set(left_out)
    built.get_subset_([i for i, info in enumerate(infos) if not files & {info['img_path'], info.get('seg_map_path')}])
    return built


_PART = '.part'


class WholeFileBackend(LocalBackend):
    """mmengine's local files, written beside their target and renamed: a crash never leaves half a checkpoint.

    Use: ``default_hooks=dict(checkpoint=dict(backend_args=dict(backend='whole_file')))`` (``tools/train.py`` sets it).
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        target = Path(filepath)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=target.parent, prefix=f'.{target.name}.', suffix=_PART)
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

    def tidy(self, folder: str | Path) -> None:
        """Remove what a kill has left half written; nothing else may write into the folder meanwhile."""
        for part in Path(folder).glob(f'.*{_PART}'):
            part.unlink(missing_ok=True)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        self.put(obj.encode(encoding), filepath)


register_backend('whole_file', WholeFileBackend, force=True)
