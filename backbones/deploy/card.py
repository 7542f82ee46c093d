"""The card of an exported model: a JSON file beside it that says what it takes, what it gives and how it was proved.

    model.onnx, model.json

Whoever deploys the file needs nothing else: sizes, free axes, mean and standard deviation, the resize in front, names
and strides of the outputs, classes, the licence of the weights, measured errors and the hash that ties both together.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

__all__ = ['card_path', 'check_target', 'commit', 'describe_file', 'file_entry', 'place', 'read_card', 'versions']

CARD = 1  # version of the layout
_PACKAGES = (
    *('torch', 'timm', 'onnx', 'onnxscript', 'onnxruntime', 'openvino', 'mmengine', 'onedl-mmengine'),
    *('mmdet', 'onedl-mmdetection', 'mmsegmentation', 'onedl-mmsegmentation'),
)
_ROOT = Path(__file__).resolve().parents[2]


def card_path(path: str | os.PathLike) -> Path:
    """`model.json` for `model.onnx`."""
    return Path(path).with_suffix('.json')


def read_card(path: str | os.PathLike) -> dict[str, Any]:
    """The card of an exported file, if the file is the one that the card was written for.

    Args:
        path: The exported file, or its card.

    Returns:
        What the card says; `files` has the file itself first.

    Raises:
        ValueError: There is no card, it is none, or a file is missing or has another hash.
    """
    card_file = card_path(path)
    card = _read(card_file)
    if card is None:
        raise ValueError(f'{card_file} must be the card of an exported model, but it is missing or another file.')
    for entry in card['files']:
        file = card_file.parent / entry['name']
        if not file.is_file():
            raise ValueError(f'{card_file} belongs to {entry["name"]}, which does not lie beside it.')
        if _sha256(file) != entry['sha256']:
            raise ValueError(
                f'{file} must be the file that {card_file.name} was written for, but their hashes differ: '
                'one of them was changed or replaced. Export the model again.'
            )
    if Path(path).suffix != '.json' and Path(path).name not in {entry['name'] for entry in card['files']}:
        raise ValueError(f'{card_file} is the card of {card["files"][0]["name"]} and not of {Path(path).name}.')
    return card


def check_target(path: str | os.PathLike, others: Sequence[str] = ()) -> None:
    """Refuse a target that would take the place of anything but an earlier export of the same name.

    Args:
        path: Where a file goes, with its card beside it.
        others: Endings of the files that go beside it under its name.

    Raises:
        ValueError: A file that no card lists, a file that is no card, or the card of another file would be replaced, or
            the target would be its own card.
    """
    path, card_file = Path(path), card_path(path)
    card = _read(card_file)
    if path.suffix == '.json' or (card_file.exists() and card is None):
        raise ValueError(
            f'The card of {path} goes to {card_file}, but {"that is the same" if path == card_file else "that"} '
            'file is no card: give another name.'
        )
    names = [entry['name'] for entry in card['files']] if card else []
    if path.name not in names and any((card_file.parent / name).exists() for name in names):
        raise ValueError(
            f'The card of {path} goes to {card_file}, but that is the card of {names[0]}: give another name, or remove '
            f'{names[0]}.'
        )
    for file in (path, *map(path.with_suffix, others)):
        if file.exists() and file.name not in names:
            raise ValueError(
                f'{file} must be an earlier export, with its card beside it, to be replaced, but no card says so: give '
                'another name, or remove it.'
            )


def place(
    part: str | os.PathLike,
    path: str | os.PathLike,
    facts: Mapping[str, Any],
    others: Sequence[str | os.PathLike] = (),
) -> None:
    """Move a finished file to its place, with its card beside it: both or none.

    Args:
        part: The finished file, on the disk where it goes.
        path: Where it goes.
        facts: What the card says, but for names, sizes and hashes of the files and the date; those of a card that was
            read are left aside.
        others: Finished files that belong to it, which go beside it under its name and their own ending.

    Raises:
        OSError: The folder cannot be written to; it is left as it was.
    """
    path, card_file = Path(path), card_path(path)
    moves = [(Path(part), path)] + [(Path(other), path.with_suffix(Path(other).suffix)) for other in others]
    card = {
        **facts,
        'card': CARD,
        'files': [file_entry(source, target.name) for source, target in moves],
        'created': datetime.now(timezone.utc).isoformat(timespec='seconds'),
    }
    before = card_file.read_bytes() if card_file.exists() else None
    _write(card_file, json.dumps(_plain(card), indent=1, ensure_ascii=False).encode() + b'\n')
    try:
        for source, target in reversed(moves):
            os.chmod(source, 0o644)
            os.replace(source, target)
    except BaseException:
        if before is None:
            card_file.unlink(missing_ok=True)
        else:
            _write(card_file, before)
        raise


def file_entry(path: str | os.PathLike, name: str | None = None) -> dict[str, Any]:
    """Name, bytes and hash of a file.

    Args:
        path: The file.
        name: What it will be called, if not as it is now.
    """
    return {'name': name or Path(path).name, 'bytes': Path(path).stat().st_size, 'sha256': _sha256(Path(path))}


@functools.cache
def commit() -> str:
    """Commit of the checkout that the package lies in, with `+` where files were changed since; else its version."""
    if (_ROOT / '.git').exists():
        words = ('describe', '--always', '--abbrev=40', '--dirty=+', '--exclude=*')
        try:
            done = subprocess.run(['git', '-C', _ROOT, *words], capture_output=True, text=True, check=True, timeout=20)
            return done.stdout.strip()
        except (OSError, subprocess.SubprocessError):  # no git here, or a checkout of somebody else
            pass
    from .. import __version__

    return __version__


def versions() -> dict[str, str]:
    """Python and the packages that may have a part in an exported file, as far as they are installed -> version."""
    from .. import __version__

    found = {'python': platform.python_version(), 'backbones': __version__}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def describe_file(
    proto: Any,
    kind: str,
    facts: Mapping[str, Any],
    checks: Sequence[Any],
    fusion: Sequence[Any],
    resize: Mapping[str, Any] | None,
    metric: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What the card of an ONNX file says, but for the file itself.

    Args:
        proto: The model.
        kind: Of the export.
        facts: What the file's metadata say.
        checks: What was compared with PyTorch, `Check`s. The reference is the model, or, of a detector or segmentor,
            the plain form that this package builds of its parts: their own `predict` has a part in `metric` alone.
        fusion: The fused model against the model in float64, likewise.
        resize: How a picture gets its size.
        metric: What was measured on the data of a config.
    """
    keys = ('pixel_range', 'channel_order', 'mean', 'std', 'normalize')
    given = _values(proto.graph.input)[0]
    given |= {'layout': 'NTCHW' if len(given['shape']) == 5 else 'NCHW', 'size': facts.get('input_size')}
    given |= {'free_axes': [axis for axis in given['shape'] if isinstance(axis, str)]}
    outputs = _values(proto.graph.output)
    for output in outputs:
        named = re.search(r'_s(\d+)(_\d+)?$', output['name'])  # maps are named by their stride
        output['stride'] = int(named[1]) if named else {'segmentor': 1}.get(kind)
    return {
        'format': 'onnx',
        'opset': proto.opset_import[0].version,
        'kind': kind,
        **{key: facts.get(key) for key in ('model', 'tag')},
        'commit': commit(),
        'versions': versions(),
        'input': {**given, **{key: facts.get(key) for key in keys}, 'resize': resize},
        'outputs': outputs,
        'strides': facts.get('strides'),
        'classes': facts.get('classes'),
        **{key: facts.get(key) for key in ('licence', 'weights')},
        'reference': 'plain form' if kind in ('detector', 'segmentor') else 'model',
        'checks': [vars(check) for check in checks],
        'fusion': [vars(check) for check in fusion],
        'metric': metric,
    }


def _values(values: Any) -> list[dict[str, Any]]:
    """Name, shape (names of free axes, numbers of fixed ones) and element type of inputs or outputs."""
    from onnx.helper import tensor_dtype_to_np_dtype

    found = []
    for value in values:
        kind = value.type.tensor_type
        shape = [dim.dim_param or dim.dim_value for dim in kind.shape.dim]
        found.append({'name': value.name, 'shape': shape, 'type': str(tensor_dtype_to_np_dtype(kind.elem_type))})
    return found


def _read(path: Path) -> dict[str, Any] | None:
    """A card, or None for any other file and for none."""
    try:
        card = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
    entries = card.get('files') if isinstance(card, dict) and 'card' in card else None
    good = isinstance(entries, list) and entries and all({'name', 'sha256'} <= entry.keys() for entry in entries)
    return card if good else None


def _write(path: Path, content: bytes) -> None:
    """Beside the target, then renamed."""
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.stem}.', suffix=path.suffix)
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(content)
        os.chmod(part, 0o644)
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()


def _plain(value: Any) -> Any:
    """What JSON can hold: lists for tuples, null for numbers that are none."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
