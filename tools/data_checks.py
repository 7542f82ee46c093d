"""What hours of work would fail on, looked at before they begin: the data that a config names.

A mistake is a ValueError; what a training can bear is said in a line on stderr.
"""

import inspect
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from tools import coco_checks, decoding, mm_config, words
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import coco_checks  # type: ignore[no-redef]
    import decoding  # type: ignore[no-redef]
    import mm_config  # type: ignore[no-redef]
    import words  # type: ignore[no-redef]

if TYPE_CHECKING:  # they take seconds to import, and `--help` needs none of them
    from mmengine.config import Config, ConfigDict

_SHORT = 1024  # bytes of a list that is worth a look for whether it is empty
_SOON = 2000  # pictures that are looked through before anyone wonders what goes on
_IGNORED = 255  # label of pixels that no loss looks at; also of what mmseg pads


def check_folders(config: 'Config', *loaders: str) -> None:
    """Look for the folders and lists of every data set that is read from files.

    Raises:
        ValueError: One is missing, a list is empty, or folders of classes are not in the order of the classes.
    """
    for loader, dataset in _data_sets(config, loaders):
        kind = _class_of(config, dataset)
        if 'download' in inspect.signature(kind).parameters:
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
        if path.is_file() and path.stat().st_size < _SHORT and not path.read_bytes().strip():
            raise ValueError(f'{loader}: {path} must name at least one picture, but is empty: fill it, or name another')
        if getattr(kind, '__name__', '') == 'CustomDataset' and not dataset.get('ann_file') and '://' not in root:
            part = prefix.get('img_path') if isinstance(prefix, dict) else prefix
            _check_class_folders(config, dataset, loader, Path(root, part or ''))


def check_annotations(config: 'Config', *loaders: str) -> None:
    """Hold COCO annotation files against the classes of the config and the sizes of their pictures.

    Raises:
        ValueError: A file is missing or is no JSON, its classes are not the config's, it lacks what mmdet reads, holds
            a box that is none or lies outside, or no annotation is left to learn from.
    """
    for loader, dataset in _data_sets(config, loaders):
        if 'Coco' in str(dataset.get('type')) and dataset.get('ann_file'):
            _check_coco(config, dataset, loader)


def check_evaluators(config: 'Config', *loaders: str) -> None:
    """Hold the annotation files that evaluators read against those of the data that they measure on.

    Raises:
        ValueError: They are two files: a score would compare findings with the truth of other pictures.
    """
    for loader in loaders:
        evaluator = loader.replace('dataloader', 'evaluator')
        data_sets = [dataset for _, dataset in _data_sets(config, [loader])]
        found = config.get(evaluator)
        parts = {f'{evaluator}.{i}': part for i, part in enumerate(found)} if isinstance(found, (list, tuple)) else {}
        for key, part in (parts or {evaluator: found or {}}).items():
            other = part.get('ann_file')
            if not other or len(data_sets) != 1 or not data_sets[0].get('ann_file'):
                continue  # what several data sets have together may well be a file of its own
            path = os.path.join(data_sets[0].get('data_root') or '', data_sets[0]['ann_file'])
            if os.path.realpath(path) != os.path.realpath(other):
                raise ValueError(
                    f'{key}.ann_file must be the annotation file of the data that it measures on, which is {path} '
                    f'({loader}.dataset.data_root and ann_file), but is {other}: add --cfg-options '
                    f'{key}.ann_file={path}'
                )


def check_pictures(
    config: 'Config',
    unreadable: str,
    loaders: Iterable[str] = ('train_dataloader', 'val_dataloader'),
    images: int | None = None,
) -> None:
    """Open every picture of the data sets, and every class map that a segmentor is trained or measured with.

    A JPEG is opened and its end looked for, a PNG is held against its checksums, others are decoded as by the
    pipeline; so are class maps, since a label that is no class ends a training.

    Args:
        config: Config; data sets may get a list of pictures that they leave out.
        unreadable: 'refuse' pictures that cannot be read, or 'skip' those of the training.
        loaders: Which data sets.
        images: Look at so many pictures of a data set that no other wraps, evenly spaced; at all if None.

    Raises:
        ValueError: A data set is empty, holds pictures that cannot be read and may not be skipped, pictures of another
            size than their annotations or class maps, or class maps whose labels are no classes.
    """
    for loader, dataset in list(_data_sets(config, loaders)):
        built = _build(dataset, loader)
        if built is None:
            continue
        if loader == 'train_dataloader' and hasattr(built, 'get_gt_labels'):
            _warn_of_empty_classes(loader, mm_config.class_names(config, dataset), built.get_gt_labels())
        parts = list(_parts(dataset.get('pipeline')))
        steps = [str(step.get('type')).rpartition('.')[2] for step in parts]
        # A pipeline without this step reads no map, and none need be there.
        labelled = not steps or any('Annotation' in step for step in steps)
        alone = dataset is config[loader].get('dataset')
        infos = _infos(built, images if alone else None)
        paths = _paths(infos, labelled)
        look = partial(decoding.is_readable, maps=paths, decoders=decoding.decoders(parts))
        read = dict(zip(paths, _each(look, list(paths), loader), strict=True))
        broken = [path for path, whole in read.items() if not whole]
        if broken:
            _leave_out(dataset, loader, broken, len(paths), unreadable)
        if labelled:
            _check_sizes(loader, infos, read, decoding.is_turned(parts))
        if 'LoadAnnotations' in steps and hasattr(built, 'reduce_zero_label'):  # mmseg's: others have maps of their own
            _check_maps(config, built, loader, [path for path, is_map in paths.items() if is_map and read[path]])


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


def _parts(settings: Any) -> 'Iterator[ConfigDict]':
    """All dicts in settings of a pipeline, however deep they lie."""
    if isinstance(settings, dict):
        yield settings  # type: ignore[misc]
        settings = list(settings.values())
    if isinstance(settings, (list, tuple)):
        for part in settings:
            yield from _parts(part)


def _check_class_folders(config: 'Config', dataset: 'ConfigDict', loader: str, folder: Path) -> None:
    """mmpretrain numbers the folders in alphabetical order and holds no name against the config's."""
    own = dataset.get('classes')
    if isinstance(own, str):
        classes = Path(own).expanduser().read_text(encoding='utf-8').splitlines()
    else:
        classes = mm_config.class_names(config, dataset)
    folders = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if not classes or classes == folders or not dataset.get('with_label', True):
        return
    lacks, has = sorted(set(folders) - set(classes)), sorted(set(classes) - set(folders))
    if lacks and len(classes) == len(folders):  # names to show, as those of ImageNet's numbers
        words.say(
            f'{loader}: the folders {words.first(folders)} go by the names {words.first(list(classes))}, in this order'
        )
        return
    parts = [f'lack the folders {words.first(lacks)}'] * bool(lacks) + [
        f'name {words.first(has)}, which are none'
    ] * bool(has)
    right = ', '.join(folders) if len(folders) <= words.LISTED else words.first(folders)
    raise ValueError(
        f'{loader}: classes must be the folders of {folder} in alphabetical order, since mmpretrain numbers them so, '
        f'but they {" and ".join(parts) or "are " + words.first(classes)}: set classes to {right}, or rename the '
        'folders (one without pictures may be empty)'
    )


def _build(dataset: 'ConfigDict', loader: str) -> Any:
    """The data set without its pipeline, or None for one that is no list of mmengine's."""
    from mmengine.registry import DATASETS

    empty = f'{loader}: the data set must name a picture, but names none: look at its ann_file, data_prefix, filter_cfg'
    try:
        built = DATASETS.build({**dataset, 'pipeline': []})
        if not hasattr(built, 'get_data_info'):
            return None
        built.full_init()
    except (AssertionError, RuntimeError, LookupError) as error:
        if 'registry' in str(error):  # an unknown name, of which the registry's own words tell more
            raise
        raise ValueError(f'{loader}: the data set cannot be read ({type(error).__name__}): {error}') from error
    except ValueError as error:
        if 'at least one array' in str(error):  # mmengine's words for an empty list
            raise ValueError(empty) from error
        raise
    if not len(built):
        raise ValueError(empty)
    return built


def _infos(built: Any, images: int | None) -> list[dict[str, Any]]:
    """What a data set knows of each of its pictures, or of so many, without the annotations."""
    count = min(images or len(built), len(built))
    infos = (built.get_data_info(i * len(built) // count) for i in range(count))
    return [{key: info.get(key) for key in ('img_path', 'seg_map_path', 'width', 'height')} for info in infos]


def _paths(infos: list[dict[str, Any]], labelled: bool) -> dict[str, bool]:
    """Files of the pictures and, if asked for, class maps -> whether it is a map."""
    found: dict[str, bool] = {}
    for info in infos:
        for key in ('img_path', 'seg_map_path')[: 1 + labelled]:
            if isinstance(info.get(key), str) and '://' not in info[key]:
                found[info[key]] = key == 'seg_map_path'
    return found


def _each(look: Callable[[Any], Any], items: list, loader: str) -> list:
    """What is found in each file, several at a time."""
    from rich.console import Console
    from rich.progress import track

    quiet = len(items) < _SOON or not sys.stderr.isatty()
    with ThreadPoolExecutor() as pool:
        found = track(
            pool.map(look, items),
            f'Looking at the pictures of {loader} (--no-check leaves this out)',
            total=len(items),
            console=Console(stderr=True),
            transient=True,
            disable=quiet,
        )
        return list(found)


def _leave_out(dataset: 'ConfigDict', loader: str, broken: list[str], count: int, unreadable: str) -> None:
    said = f'{loader}: {len(broken)} of {count} pictures cannot be read ({words.first(broken)})'
    if loader != 'train_dataloader':
        raise ValueError(f'{said}: replace them; a score over the others would not be the one of this data set')
    if unreadable == 'refuse':
        raise ValueError(f'{said}: replace them, or leave those of the training out with --unreadable skip')
    if len(broken) == count:
        raise ValueError(f'{said}: there is nothing to train on')
    words.say(f'{said}: they are left out')
    inner = dict(dataset)
    dataset.clear()
    dataset.update(type='without_pictures', dataset=inner, left_out=broken)


def _check_sizes(loader: str, infos: list[dict[str, Any]], read: dict[str, bool], turned: bool) -> None:
    """Boxes, masks and class maps of a picture of another size lie where nothing of theirs is to be seen."""

    def mistake(info: dict[str, Any]) -> str | None:
        wanted = (info['width'], info['height']) if info['width'] and info['height'] else None
        if wanted is None and read.get(info['seg_map_path']):
            wanted = decoding.size(info['seg_map_path'], turned=False)
        found = decoding.size(info['img_path'], turned)
        if not wanted or not found or found == wanted:
            return None
        return f'{info["img_path"]} is of {found[0]} x {found[1]}, annotated as {wanted[0]} x {wanted[1]}'

    whole = [info for info in infos if read.get(info['img_path'])]
    wrong = list(filter(None, _each(mistake, whole, loader)))
    if wrong:
        raise ValueError(
            f'{loader}: each picture must have the size of its annotations, but {len(wrong)} of {len(whole)} have not '
            f'({wrong[0]}): annotate the pictures as they are, or give those that were annotated'
        )


def _check_maps(config: 'Config', built: Any, loader: str, maps: list[str]) -> None:
    """A label that is no class ends a training with an IndexError; a map of colours does not even make a batch."""
    heads = (config.get('model') or {}).get('decode_head') or []
    heads = heads if isinstance(heads, (list, tuple)) else [heads]
    # A head of one class tells two apart, by a threshold.
    counts = [head['num_classes'] for head in heads if head.get('num_classes', 1) > 1]
    counts += [len(built.metainfo['classes'])] if built.metainfo.get('classes') else []
    if not counts or not maps:
        return
    ignored = {_IGNORED, *(head.get('ignore_index', _IGNORED) for head in heads)}
    known = {raw for raw in range(256) if _label(raw, built) in {*range(min(counts)), *ignored}}
    found = _each(lambda path: _map_mistake(path, known), maps, loader)
    wrong = {path: said for path, said in zip(maps, found, strict=True) if said}
    if wrong:
        path, said = next(iter(wrong.items()))
        raise ValueError(
            f'{loader}: {len(wrong)} of {len(maps)} class maps do not fit {min(counts)} classes: {path} {said}: '
            'correct them, or set metainfo.classes, num_classes and reduce_zero_label to fit'
        )


def _label(raw: int, built: Any) -> int:
    """What mmseg makes of a number in a class map."""
    if built.reduce_zero_label:
        raw = _IGNORED if raw in (0, _IGNORED) else raw - 1
    return (built.label_map or {}).get(raw, raw)


def _map_mistake(path: str, known: set[int]) -> str | None:
    import numpy as np
    from PIL import Image

    with Image.open(path) as picture:
        pixels, bands = np.asarray(picture), ''.join(picture.getbands())
    if pixels.ndim != 2:  # indexed colours are one channel, of their numbers
        return f'must have one channel of class numbers, but has {len(bands)} ({bands})'
    wrong = [int(label) for label in np.unique(pixels) if label not in known]
    right = f'{min(known)} to {max(known - {_IGNORED})} or {_IGNORED} (ignored)'
    return f'must hold labels of {right}, but holds {words.first(wrong)}' if wrong else None


def _check_coco(config: 'Config', dataset: 'ConfigDict', loader: str) -> None:
    path = Path(os.path.join(dataset.get('data_root') or '', dataset['ann_file']))
    if not path.is_file():
        raise ValueError(f'{loader}: there is no annotation file {path}')
    try:
        table = json.loads(path.read_text(encoding='utf-8'))
        names = {category['id']: category['name'] for category in table['categories']}
        images, annotations = [dict(image) for image in table['images']], table.get('annotations') or []
        annotations = [
            dict(annotation) for annotation in annotations if not annotation.get('ignore')
        ]  # mmdet skips them
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{loader}: {path} is no COCO annotation file ({type(error).__name__}: {error})') from error
    where, classes = f'{loader}: {path}', mm_config.class_names(config, dataset)
    coco_checks.check_names(where, list(names.values()), classes)
    if not images:
        raise ValueError(f'{where} must name at least one picture under "images", but names none')
    if 'Panoptic' in str(dataset.type):
        return  # these have segments in the place of boxes
    evaluator = str(config.get(loader.replace('dataloader', 'evaluator')) if loader != 'train_dataloader' else '')
    coco_checks.check_keys(where, 'image', images, ['id', 'file_name', 'width', 'height'])
    keys = ['id', 'image_id', 'category_id', 'bbox', 'area', *(['iscrowd'] if 'Coco' in evaluator else [])]
    coco_checks.check_keys(where, 'annotation', annotations, keys)
    coco_checks.check_numbers(where, images, annotations)
    kept = coco_checks.kept(
        where, annotations, names, {image['id']: (image['width'], image['height']) for image in images}
    )
    if any(step.get('with_mask') for step in _parts(dataset.get('pipeline'))):
        coco_checks.check_masks(where, kept)
    used = [annotation for annotation in kept if not annotation.get('iscrowd')]
    if not used and (annotations or loader == 'train_dataloader'):  # a test without annotations may be meant
        raise ValueError(f'{where} must hold an annotation that can be used, but of its {len(annotations)} none can')
    if loader == 'train_dataloader':
        labels = [names[annotation['category_id']] for annotation in used]
        _warn_of_empty_classes(loader, classes, [classes.index(name) for name in labels if name in classes])


def _warn_of_empty_classes(loader: str, classes: list[str], labels: Iterable[int]) -> None:
    counts = Counter(map(int, labels))
    empty = [name for i, name in enumerate(classes) if not counts[i]]
    if empty:
        words.say(
            f'{loader}: {len(empty)} of {len(classes)} classes have no example to learn from: {words.first(empty)}'
        )
