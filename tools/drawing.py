"""What was found in a picture, drawn by the visualizer of the config's library."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from tools import mm_config
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import mm_config  # type: ignore[no-redef]

if TYPE_CHECKING:
    import numpy as np

_NUMBERS = itertools.count()
_READABLE = 480  # pixels of the shorter side that leave room for words and lines
_OPACITY = 0.5  # of classes over a picture, which mmsegmentation's own 0.8 would hide


def drawer(config: Any, dataset: Any, classes: Sequence[str], threshold: float, truth: bool) -> Callable[..., None]:
    """Function (picture, sample, target, enlarge) that draws.

    Where `enlarge` is true, as it is by default, small pictures are drawn at a whole multiple of their size.

    Args:
        config: With its `visualizer`.
        dataset: Config of the data set, which may name colours.
        classes: Names.
        threshold: Boxes with a lower score are not drawn.
        truth: Whether what a sample says of the truth is drawn beside what was found.
    """
    import mmcv
    from mmengine.registry import VISUALIZERS

    # mmengine keeps visualizers by their names, and gives the first of a name again, whatever its settings
    settings = dict(config.visualizer, vis_backends=None, name=f'drawer {next(_NUMBERS)}')
    if settings['type'].endswith('SegLocalVisualizer'):
        settings.setdefault('alpha', _OPACITY)
    visualizer = VISUALIZERS.build(settings)
    visualizer.dataset_meta = {'classes': list(classes), 'palette': _palette(config, dataset, len(classes))}
    short = [name.split(',')[0] for name in classes]  # ImageNet's synonyms would run out of the picture

    def draw(path: Path, sample: Any, target: Path, enlarge: bool = True) -> None:
        image = mmcv.imread(str(path), channel_order='rgb')
        times = -(-_READABLE // min(image.shape[:2])) if enlarge else 1
        image, sample = _enlarged(image, sample, times) if times > 1 else (image, sample)
        if hasattr(visualizer, 'visualize_cls'):
            visualizer.visualize_cls(image, sample, classes=short, draw_gt=truth, out_file=str(target))
            return
        limit = {'pred_score_thr': threshold} if 'pred_instances' in sample else {}
        visualizer.add_datasample(path.name, image, sample, draw_gt=truth, out_file=str(target), **limit)

    return draw


def _palette(config: Any, dataset: Any, count: int) -> list[tuple[int, ...]]:
    """Colours of the data set's config or of its type, else those of a plot."""
    own = mm_config.meta(config, dataset, 'palette')
    if own and len(own) >= count:
        return [tuple(colour) for colour in own]
    from matplotlib import colormaps

    return [tuple(round(255 * part) for part in colormaps['tab20'](i % 20)[:3]) for i in range(count)]


def _enlarged(image: 'np.ndarray', sample: Any, times: int) -> tuple['np.ndarray', Any]:
    """Picture and a copy of what was found in it, both so many times as large."""
    import cv2

    sample = sample.clone()
    for key in ('pred_instances', 'gt_instances'):
        if key in sample:
            sample.set_data({key: _instances(sample.get(key), times)})
    for key in ('pred_sem_seg', 'gt_sem_seg'):
        if key in sample:
            data = sample.get(key).data.repeat_interleave(times, -1).repeat_interleave(times, -2)
            sample.set_data({key: type(sample.get(key))(data=data)})
    return cv2.resize(image, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC), sample


def _instances(found: Any, times: int) -> Any:
    import torch

    found = found[:]
    if 'bboxes' in found:  # the truth of a picture without annotations has none
        found.bboxes = found.bboxes * times
    if 'masks' in found:
        masks = found.masks.to_ndarray() if hasattr(found.masks, 'to_ndarray') else found.masks.numpy()
        large = masks.repeat(times, -1).repeat(times, -2)
        found.masks = torch.from_numpy(large)
    return found
