"""The data that a config names, looked at before a training begins: folders, pictures, annotations and classes.

A mistake is a ValueError; what a training can bear is said in a line on stderr.
"""

import inspect
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from tools import mm_config
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import mm_config  # type: ignore[no-redef]

if TYPE_CHECKING:  # they take seconds to import, and `--help` needs none of them
    from mmengine.config import Config, ConfigDict

_JPEG_END = b'\xff\xd9'
_TAIL = 1024  # bytes; cameras append a little behind the end of a picture
_SOON = 2000  # pictures that are looked through before anyone wonders what goes on


def check_folders(config: 'Config', *loaders: str) -> None:
    """Look for the folders and lists of every data set that is read from files.

    Raises:
        ValueError: One is missing.
    """
    for loader, dataset in _data_sets(config, loaders):
        if 'download' in inspect.signature(_class_of(config, dataset)).parameters:
            continue  # mmpretrain's own, which fetch what is missing
        root, prefix = dataset.get('data_root') or '', dataset.get('data_prefix') or ''
        if not prefix and str(dataset.type).endswith('ImageNet'):
            prefix = dataset.get('split') or ''
        for part in ('', *(prefix.values() if isinstance(prefix, dict) else [prefix])):
            path = Path(root, part or '')
            if '://' not in root and not path.is_dir():
                raise ValueError(
                    f'{loader}: there is no folder {path}: put the data there, or say where they are with '
                    f'--cfg-options {loader}.dataset.data_root=FOLDER'
                )
        path = Path(root, dataset.get('ann_file') or '')
        if '://' not in root and not path.exists():
            raise ValueError(
                f'{loader}: there is no annotation file {path}: put it there, or say where it is with '
                f'--cfg-options {loader}.dataset.ann_file=FILE'
            )


def check_annotations(config: 'Config', *loaders: str) -> None:
    """Hold COCO annotation files against the classes of the config and the sizes of their pictures.

    Raises:
        ValueError: A file is missing or is no JSON, its classes are not the config's, or a box lies outside.
    """
    for loader, dataset in _data_sets(config, loaders):
        if 'Coco' in str(dataset.get('type')) and dataset.get('ann_file'):
            _check_coco(config, dataset, loader)


def check_pictures(config: 'Config', unreadable: str) -> None:
    """Open every picture of the training and the validation.

    A JPEG is opened and its end looked for, a PNG is held against its checksums, others are decoded.

    Args:
        config: Config of a training; data sets may get a list of pictures that they leave out.
        unreadable: 'refuse' pictures that cannot be read, or 'skip' those of the training.

    Raises:
        ValueError: A data set is empty, or holds pictures that cannot be read and may not be skipped.
    """
    for loader, dataset in list(_data_sets(config, ('train_dataloader', 'val_dataloader'))):
        built = _build(dataset, loader)
        if built is None:
            continue
        if loader == 'train_dataloader' and hasattr(built, 'get_gt_labels'):
            _warn_of_empty_classes(loader, mm_config.class_names(config, dataset), built.get_gt_labels())
        paths = _paths(built)
        broken = _broken(paths)
        if not broken:
            continue
        said = f'{loader}: {len(broken)} of {len(paths)} pictures cannot be read ({_first(broken)})'
        if unreadable == 'refuse':
            cure = 'replace them, or leave those of the training out with --unreadable skip'
            raise ValueError(f'{said}: {cure}')
        if loader != 'train_dataloader':
            raise ValueError(f'{said}: replace them; a score over the others would not be the one of this data set')
        if len(broken) == len(paths):
            raise ValueError(f'{said}: there is nothing to train on')
        _say(f'{said}: they are left out')
        _leave_out(dataset, broken)


def _data_sets(config: 'Config', loaders: Iterable[str]) -> 'Iterator[tuple[str, ConfigDict]]':
    """Loader and config of each data set that wraps no other."""
    for loader in loaders:
        queue = [(config.get(loader) or {}).get('dataset')]
        while queue:
            dataset = queue.pop()
            inner = [dataset.get('dataset'), *(dataset.get('datasets') or ())] if isinstance(dataset, dict) else []
            queue += [part for part in inner if part]
            if isinstance(dataset, dict) and not any(inner):
                yield loader, dataset  # type: ignore[misc]


def _class_of(config: 'Config', dataset: 'ConfigDict') -> Any:
    from mmengine.registry import DATASETS

    if not isinstance(dataset.get('type'), str):
        return dataset.get('type', object)
    with DATASETS.switch_scope_and_registry(config.get('default_scope')) as registry:
        return registry.get(dataset.type) or object  # an unknown name is the runner's to complain of


def _build(dataset: 'ConfigDict', loader: str) -> Any:
    """The data set without its pipeline, or None for one that is no list of mmengine's."""
    from mmengine.registry import DATASETS

    try:
        built = DATASETS.build({**dataset, 'pipeline': []})
        if not hasattr(built, 'get_data_info'):
            return None
        built.full_init()
    except AssertionError as error:
        raise ValueError(f'{loader}: the data set cannot be read: {error}') from error
    if not len(built):
        raise ValueError(f'{loader}: the data set names no picture; look at its ann_file, data_prefix and filter_cfg')
    return built


def _paths(built: Any) -> list[str]:
    """Files of the pictures and class maps of a data set."""
    found: dict[str, None] = {}
    for i in range(len(built)):
        info = built.get_data_info(i)
        for key in ('img_path', 'seg_map_path'):
            if isinstance(info.get(key), str) and '://' not in info[key]:
                found[info[key]] = None
    return list(found)


def _broken(paths: list[str]) -> list[str]:
    """Files that are no whole pictures."""
    from rich.console import Console
    from rich.progress import track

    quiet = len(paths) < _SOON or not sys.stderr.isatty()
    with ThreadPoolExecutor() as pool:
        read = track(
            pool.map(_is_picture, paths),
            'Looking at the pictures (--no-check leaves this out)',
            total=len(paths),
            console=Console(stderr=True),
            transient=True,
            disable=quiet,
        )
        return [path for path, whole in zip(paths, read, strict=True) if not whole]


def _is_picture(path: str) -> bool:
    from PIL import Image

    try:
        with open(path, 'rb') as file, Image.open(file) as picture:
            kind = picture.format
            if kind == 'JPEG':
                file.seek(max(0, os.path.getsize(path) - _TAIL))
                if _JPEG_END in file.read():
                    return True
            elif kind == 'PNG':
                picture.verify()
                return True
        with Image.open(path) as picture:
            picture.load()
    except Exception:  # decoders raise whatever they like
        return False
    return True


def _leave_out(dataset: 'ConfigDict', broken: list[str]) -> None:
    inner = dict(dataset)
    dataset.clear()
    dataset.update(type='without_pictures', dataset=inner, left_out=broken)


def _check_coco(config: 'Config', dataset: 'ConfigDict', loader: str) -> None:
    path = Path(os.path.join(dataset.get('data_root') or '', dataset['ann_file']))
    if not path.is_file():
        raise ValueError(f'{loader}: there is no annotation file {path}')
    try:
        table = json.loads(path.read_text(encoding='utf-8'))
        names = {category['id']: category['name'] for category in table['categories']}
        sizes = {image['id']: (image['width'], image['height']) for image in table['images']}
        annotations = table.get('annotations') or []
        used = {names.get(annotation['category_id']) for annotation in annotations if 'category_id' in annotation}
        found = {kind: list(ids) for kind, ids in _box_mistakes(annotations, names, sizes).items()}
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{loader}: {path} is no COCO annotation file ({type(error).__name__}: {error})') from error
    classes = mm_config.class_names(config, dataset)
    if classes and set(names.values()) != set(classes):
        lacks, has = sorted(set(names.values()) - set(classes)), sorted(set(classes) - set(names.values()))
        parts = [f'has the classes {lacks} that the config lacks'] * bool(lacks)
        parts += [f'lacks the classes {has} of the config'] * bool(has)
        raise ValueError(f'{loader}: {path} {" and ".join(parts)}; set metainfo.classes and num_classes to fit')
    outside = found.pop(_OUTSIDE, [])
    if outside:
        raise ValueError(
            f'{loader}: {path}: each box must overlap its picture, but {len(outside)} of {len(annotations)} lie '
            f'outside (annotations {_first(outside)}): correct them, or take them out of the file'
        )
    for kind, ids in found.items():
        _say(f'{loader}: {path}: {len(ids)} of {len(annotations)} annotations {kind} (annotations {_first(ids)})')
    if loader == 'train_dataloader':
        _warn_of_empty_classes(loader, classes, [classes.index(name) for name in used if name in classes])


_OUTSIDE = 'lie outside their picture'
_NO_PICTURE = 'name a picture that the file lacks and are left out'
_NO_CLASS = 'name a class that the file lacks and are left out'
_NO_AREA = 'are less than a pixel wide, high or large and are left out'
_CUT = 'stick out of their picture by more than a pixel and are clipped where the config says so'


def _box_mistakes(annotations: list[dict], names: dict, sizes: dict) -> dict[str, list]:
    """What is wrong -> ids of the annotations; what mmdet leaves out is told by the same rules as its own."""
    found: dict[str, list] = {}
    for annotation in annotations:
        if 'bbox' not in annotation:
            continue
        kind = _box_mistake(annotation, names, sizes)
        if kind:
            found.setdefault(kind, []).append(annotation['id'])
    return found


def _box_mistake(annotation: dict, names: dict, sizes: dict) -> str | None:
    if annotation['image_id'] not in sizes:
        return _NO_PICTURE
    if annotation['category_id'] not in names:
        return _NO_CLASS
    (x, y, w, h), (width, height) = annotation['bbox'], sizes[annotation['image_id']]
    if w < 1 or h < 1 or annotation.get('area', w * h) <= 0:
        return _NO_AREA
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        return _OUTSIDE
    return _CUT if min(x, y, width - x - w, height - y - h) < -1 else None


def _warn_of_empty_classes(loader: str, classes: list[str], labels: Iterable[int]) -> None:
    counts = Counter(map(int, labels))
    empty = [name for i, name in enumerate(classes) if not counts[i]]
    if empty:
        _say(f'{loader}: {len(empty)} of {len(classes)} classes have no example to learn from: {_first(empty)}')


def _first(items: list) -> str:
    """The first three, and a sign that there are more."""
    return ', '.join(map(str, items[:3])) + (', ...' if len(items) > 3 else '')


def _say(line: str) -> None:
    """One line on stderr, from the first of several processes."""
    if os.environ.get('RANK', '0') == '0':
        print(line, file=sys.stderr)
