"""COCO annotations held against the classes of a config, the sizes of their pictures and what mmdet reads.

`where` is the loader and the file, for messages. A mistake is a ValueError; what a training can bear is said on stderr.
"""

import math
from collections.abc import Callable
from typing import Any

try:
    from tools import words
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import words  # type: ignore[no-redef]


def check_names(where: str, names: list[str], classes: list[str]) -> None:
    if not classes or names == classes:
        return
    lacks, has = sorted(set(names) - set(classes)), sorted(set(classes) - set(names))
    if lacks or has:
        parts = [f'has the classes {lacks} that the config lacks'] * bool(lacks)
        parts += [f'lacks the classes {has} of the config'] * bool(has)
        raise ValueError(f'{where} {" and ".join(parts)}; set metainfo.classes and num_classes to fit')
    right = ', '.join(names) if len(names) <= words.LISTED else words.first(names)
    raise ValueError(
        f'{where}: metainfo.classes must have the order of the categories of the file, since mmdet numbers them so, '
        f'but begin with {words.first(classes)}: set them to {right}'
    )


def check_keys(where: str, kind: str, entries: list[dict], keys: list[str]) -> None:
    parts = []
    for key in keys:
        lacking = [_id(entry, i) for i, entry in enumerate(entries) if entry.get(key) is None]
        parts += [f'{len(lacking)} of {len(entries)} lack {key} ({kind}s {words.first(lacking)})'] * bool(lacking)
    if parts:
        raise ValueError(f'{where}: each {kind} must have {", ".join(keys)}, but {" and ".join(parts)}: add them')


def check_numbers(where: str, images: list[dict], annotations: list[dict]) -> None:
    """What json reads may be NaN or text."""

    def check(kind: str, entries: list[dict], keys: tuple[str, ...], rule: str, right: Callable[[Any], bool]) -> None:
        wrong = [entry for entry in entries if not all(right(entry[key]) for key in keys)]
        if wrong:
            ids = words.first([entry['id'] for entry in wrong])
            given = ' and '.join(repr(wrong[0][key]) for key in keys)
            raise ValueError(
                f'{where}: {" and ".join(keys)} must be {rule}, but in {len(wrong)} of {len(entries)} {kind}s that is '
                f'not so ({kind}s {ids}; the first has {given}): correct them, or take them out of the file'
            )

    def box(value: Any) -> bool:
        return isinstance(value, list) and len(value) == 4 and all(map(_is_finite, value))

    check('image', images, ('width', 'height'), 'numbers above 0', lambda value: _is_finite(value) and value > 0)
    check('annotation', annotations, ('bbox',), 'four finite numbers (left, top, width, height)', box)
    check('annotation', annotations, ('area',), 'a finite number', _is_finite)


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def check_masks(where: str, annotations: list[dict]) -> None:
    """Polygons are lists of lists, run lengths a dict; what mmdet cannot draw of them it leaves out itself."""

    def usable(shape: Any) -> bool:
        return bool(shape) and (isinstance(shape, dict) or all(isinstance(polygon, list) for polygon in shape))

    wrong = [annotation['id'] for annotation in annotations if not usable(annotation.get('segmentation'))]
    if wrong:
        raise ValueError(
            f'{where}: the pipeline reads masks (with_mask=True), so each annotation must have polygons or run '
            f'lengths as its segmentation, but {len(wrong)} of {len(annotations)} have none (annotations '
            f'{words.first(wrong)}): add them, or train a detector without masks'
        )


_OUTSIDE = 'lie outside their picture'
_NO_PICTURE = 'name a picture that the file lacks and are left out'
_NO_CLASS = 'name a class that the file lacks and are left out'
_NO_AREA = 'are less than a pixel wide, high or large and are left out'
_CUT = 'stick out of their picture by more than a pixel and are clipped where the config says so'


def kept(where: str, annotations: list[dict], names: dict, sizes: dict) -> list[dict]:
    """Annotations that mmdet does not leave out, by its own rules; what is wrong with the others is said."""
    kinds = [_box_mistake(annotation, names, sizes) for annotation in annotations]
    found: dict[str, list] = {}
    for annotation, kind in zip(annotations, kinds, strict=True):
        if kind:
            found.setdefault(kind, []).append(annotation['id'])
    outside = found.pop(_OUTSIDE, [])
    if outside:
        raise ValueError(
            f'{where}: each box must overlap its picture, but {len(outside)} of {len(annotations)} lie outside '
            f'(annotations {words.first(outside)}): correct them, or take them out of the file'
        )
    for kind, ids in found.items():
        words.say(f'{where}: {len(ids)} of {len(annotations)} annotations {kind} (annotations {words.first(ids)})')
    return [annotation for annotation, kind in zip(annotations, kinds, strict=True) if kind in (None, _CUT)]


def _box_mistake(annotation: dict, names: dict, sizes: dict) -> str | None:
    if annotation['image_id'] not in sizes:
        return _NO_PICTURE
    if annotation['category_id'] not in names:
        return _NO_CLASS
    (x, y, w, h), (width, height) = annotation['bbox'], sizes[annotation['image_id']]
    if w < 1 or h < 1 or annotation['area'] <= 0:
        return _NO_AREA
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        return _OUTSIDE
    return _CUT if min(x, y, width - x - w, height - y - h) < -1 else None


def _id(entry: dict, number: int) -> Any:
    """Of an annotation or a picture, or where in the file it stands."""
    return entry.get('id', f'at place {number}')
