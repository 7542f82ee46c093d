"""Whether a network of timm's own takes the pictures of a config, and a file of weights.

Our own families take any picture and refuse weights that are not theirs; timm's do so each in its own way.
"""

import contextlib
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    from tools import models
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import models  # type: ignore[no-redef]


def light(build: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a function builds, without memory where the network allows it."""
    import torch

    try:
        with torch.device('meta'):
            return build(*args, **kwargs)
    except RuntimeError:  # some networks ask for values as they are made
        return build(*args, **kwargs)


def to_pictures(config: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a network that takes the pictures of a config: as they are, or made for their size.

    Args:
        config: Config with a `train_dataloader`.
        settings: Of the `TimmClassifier` or `TimmFeatures`, without weights.

    Raises:
        ValueError: The network does not take such pictures.
    """
    sizes, name = picture_sizes(config, settings), settings['model_name']
    if not sizes:
        return settings
    reason = _refusal(settings, sizes)
    if reason is None:
        return settings
    sized = {**settings, 'img_size': sizes[0]}
    if not settings.get('img_size') and _refusal(sized, sizes) is None:
        return sized
    words = ' and of '.join(f'{height} x {width}' for height, width in sizes)
    raise ValueError(
        f'--backbone {name} must take pictures of {words} pixels, as this config has them, but does not '
        f'({reason}): give another backbone, or a config of another size.'
    )


def picture_sizes(config: Any, settings: dict[str, Any]) -> list[tuple[int, int]]:
    """Heights and widths of pictures, none where the config does not say.

    A classifier has one size. Pictures of a detector or segmentor keep their proportions, in training or when measured:
    a lower one stands for all others.
    """
    processor = config.model.get('data_preprocessor') or {}
    size = settings.get('img_size') or processor.get('size') or _last_size(config)
    if size is None:
        return []
    height, width = (size, size) if isinstance(size, int) else size
    measured = ((config.get('test_dataloader') or {}).get('dataset') or {}).get('pipeline') or ()
    divisors = [step.get('size_divisor', 32) for step in measured if str(step.get('type')).endswith('ResizeToMultiple')]
    whole = max([processor.get('pad_size_divisor') or 1, *divisors])
    heights = [height, 4 * height // 5] if str(settings.get('type')).endswith('TimmFeatures') else [height]
    return [(-(-side // whole) * whole, -(-width // whole) * whole) for side in heights]


def _last_size(config: Any) -> Any:
    """What the last step that sets a size makes of a picture, in training or else when measured; or a picture's own."""
    sets = [_innermost(config, loader) for loader in ('train_dataloader', 'test_dataloader')]
    for dataset in sets:
        for step in reversed(dataset.get('pipeline') or ()):
            if step.get('crop_size'):
                return step['crop_size']
            scale: Any = step.get('scale')
            if isinstance(scale, int):
                return scale
            if isinstance(scale, (list, tuple)) and all(isinstance(side, int) for side in scale):
                return scale[::-1]  # width first
    return _size_in_folder(sets[0])


def _innermost(config: Any, loader: str) -> Any:
    """Settings of the data set of a loader, or of the one that it wraps."""
    dataset = (config.get(loader) or {}).get('dataset') or {}
    while 'dataset' in dataset and 'pipeline' not in dataset:
        dataset = dataset['dataset']
    return dataset


def _size_in_folder(dataset: Any) -> tuple[int, int] | None:
    """Height and width of a picture out of a folder of folders, None if it is not there or the data set is another."""
    from PIL import Image

    prefix = dataset.get('data_prefix')
    if not isinstance(prefix, str):
        return None
    for path in Path(dataset.get('data_root') or '', prefix).glob('*/*'):
        with contextlib.suppress(OSError), Image.open(path) as image:  # no picture, or a broken one
            return image.height, image.width
    return None


def _refusal(settings: dict[str, Any], sizes: list[tuple[int, int]]) -> str | None:
    """Why a network does not take pictures of these sizes, None if it does."""
    # Some networks cannot run without memory; with it, a picture takes a moment.
    return _failure(settings, sizes, 'meta') and _failure(settings, sizes, 'cpu')


def _failure(settings: dict[str, Any], sizes: list[tuple[int, int]], device: str) -> str | None:
    import torch
    from mmengine.registry import MODELS

    try:
        with torch.device(device), torch.no_grad():
            model = MODELS.build(copy.deepcopy(settings)).eval()
            for size in sizes:
                model(torch.zeros(1, settings.get('in_chans') or 3, *size))
    except Exception as error:  # networks raise whatever they like
        return models.short(error)
    return None


def classifier_file(name: str, weights: str, settings: dict[str, Any]) -> dict[str, Any]:
    """`pretrained_cfg_overlay` of a classifier that starts from a file.

    timm leaves out whatever does not fit as soon as the number of classes is another than that of its published
    weights; of our networks, which are held against their tables, the head alone. So a file for timm's own goes into a
    network of as many classes as it has itself, strictly; the overlay names this number, and timm leaves out the head
    alone where the config has another.

    Args:
        name: A name of ours or of timm's own.
        weights: File, in any layout that timm converts.
        settings: Of the `TimmClassifier`.

    Raises:
        ValueError: The file holds other weights.
    """
    import timm

    from backbones import load_checkpoint, unwrap

    cfg, state = timm.models.get_pretrained_cfg(name), unwrap(load_checkpoint(weights))
    heads = getattr(cfg, 'classifier', None) or ()
    heads = [heads] if isinstance(heads, str) else heads
    counts = [len(state[f'{head}.weight']) for head in heads if f'{head}.weight' in state]
    if models.is_ours(name):
        return {'file': weights, **({'num_classes': counts[0]} if settings.get('num_classes') in counts else {})}
    build = {key: settings[key] for key in ('img_size', 'in_chans') if settings.get(key)}
    errors = []
    for count in dict.fromkeys([*counts, getattr(cfg, 'num_classes', 1000), 0]):  # 0: without a head
        overlay = {'file': weights, 'num_classes': count}
        try:
            timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **build, num_classes=count)
        except Exception as error:  # so do the functions that convert weights
            errors.append(error)
        else:
            return overlay
    raise ValueError(f'{weights} holds no weights of {name}: {models.short(errors[0])}') from errors[0]
