"""Feature maps of a backbone on a picture, for `look.py maps`, and what other views of a backbone need too."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from tools import models, plots
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import models  # type: ignore[no-redef]
    import plots  # type: ignore[no-redef]

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_MULTIPLE = 32  # pixels: networks that merge patches want whole ones


def draw(options: argparse.Namespace) -> str:
    """Draw the maps of one picture.

    Args:
        options: Of `look.py maps`.

    Returns:
        What was written where.
    """
    import torch
    from mmengine.visualization import Visualizer

    check_size(options.img_size)
    with read(options.picture) as picture:
        scale = options.img_size / max(picture.size)
        size = [max(_MULTIPLE, round(side * scale / _MULTIPLE) * _MULTIPLE) for side in picture.size]
        pixels = resized(picture, size[0], size[1])
    model = backbone(options)
    levels = check_levels(options.level, len(model.channels), options.name)
    with torch.no_grad():
        found = maps(model, normalized(model, pixels)[None])
    path = place(options.out, f'maps_{options.name}.png')
    count = len(levels) + 1
    height = 3.2 * pixels.shape[0] / pixels.shape[1] + 0.9
    with plots.subplots(str(path), 1, count, figsize=(3.2 * count, height), squeeze=False) as axes:
        panel(axes[0, 0], pixels, Path(options.picture).name)
        for axis, level in zip(axes[0, 1:], levels, strict=True):
            one = found[level]
            # enlarged here, since draw_featmap warns of maps that are smaller than the picture
            large = torch.nn.functional.interpolate(one.float(), pixels.shape[:2], mode='bilinear')[0]
            title = f'level {level}: {one.shape[1]} maps of {one.shape[3]} x {one.shape[2]}'
            panel(axis, Visualizer.draw_featmap(large, pixels, channel_reduction='squeeze_mean'), title)
        axes[0, 0].figure.suptitle(f'{options.name}, mean over channels, {weights(options.checkpoint)}')
    return f'the maps of {options.name} are in {path}'


def backbone(options: argparse.Namespace) -> Any:
    """All feature maps of a timm model, in eval mode.

    Without a checkpoint, branches that start at zero are opened (`open_branches`).

    Args:
        options: Its `name`, `checkpoint` and `model_kwargs`.

    Raises:
        ValueError: There is no such model, it has no maps, or the file holds no weights of it.
    """
    from backbones.mm import TimmFeatures

    name, checkpoint = options.name, options.checkpoint
    models.check_name(name, 'NAME')
    source: dict[str, Any] = {'init_cfg': {'type': 'Pretrained', 'checkpoint': checkpoint}} if checkpoint else {}
    try:
        model = TimmFeatures(name, **source, **models.keywords(options.model_kwargs))
    except (AttributeError, RuntimeError, AssertionError) as error:  # how timm's own models without maps refuse
        raise ValueError(f'{name} must have feature maps, but timm gives none of it: {error}') from error
    model.init_weights()
    opened = 0 if checkpoint else open_branches(model)
    if opened:
        print(f'{opened} branches that start at (nearly) zero count in full: without them only shortcuts would be seen')
    return model.eval()


def open_branches(model: Any) -> int:
    """Set to one the norms and layer scales that an initialisation shuts, with at most 0.01 everywhere; how many.

    Training opens them; before it, a residual network such as timm's ResNet is a chain of its shortcuts.
    """
    import torch
    from torch import nn

    norms = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
    count = 0
    with torch.no_grad():
        for module in model.modules():
            scale = (
                module.weight if isinstance(module, norms) else getattr(module, 'gamma', None)
            )  # LayerScale, ConvNeXt
            if isinstance(scale, nn.Parameter) and scale.abs().max() <= 0.01:
                scale.fill_(1)
                count += 1
    return count


def maps(model: Any, batch: 'Tensor') -> 'Sequence[Tensor]':
    """Maps (B, C, h, w) of pictures (B, 3, H, W), one for each level.

    Raises:
        ValueError: The model does not take pictures of that size, or a level is no map.
    """
    size = f'{batch.shape[3]} x {batch.shape[2]}'
    try:
        found = model(batch)
    except (AssertionError, RuntimeError) as error:
        said = str(error).splitlines()[0]
        raise ValueError(
            f'the model must take pictures of {size}, but says: {said}; give another --img-size'
        ) from error
    if any(one.ndim != 4 for one in found):
        raise ValueError(f'levels must be maps (B, C, H, W), got {[tuple(one.shape) for one in found]}')
    return found


def check_levels(levels: Sequence[int] | None, count: int, name: str) -> list[int]:
    """Numbers of levels from 0; all if none are asked for, negative ones count from the last.

    Raises:
        ValueError: There is no such level.
    """
    wrong = [level for level in levels or () if not -count <= level < count]
    if wrong:
        raise ValueError(f'--level must lie in [{-count}, {count - 1}] for {name}, got {wrong[0]}')
    return sorted({level % count for level in levels}) if levels else list(range(count))


def check_size(size: int) -> None:
    """Refuse sides that no model takes or no memory holds."""
    if not 32 <= size <= 4096:
        raise ValueError(f'--img-size must lie in [32, 4096], got {size}')


def read(path: Any) -> Any:
    """Picture that can be decoded whole.

    Raises:
        ValueError: It cannot.
    """
    from PIL import Image

    try:
        image = Image.open(path)
        image.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f'{path} must be a picture that can be read whole: {error}') from error
    return image


def resized(picture: Any, width: int, height: int) -> 'np.ndarray':
    """Pixels (H, W, 3), 8 bits each."""
    import numpy as np
    from PIL import Image

    return np.array(picture.convert('RGB').resize((width, height), Image.Resampling.BICUBIC))


def normalized(model: Any, pixels: 'np.ndarray') -> 'Tensor':
    """Picture (3, H, W) with the mean and the deviation that the model's weights expect."""
    import torch
    from timm import get_pretrained_cfg
    from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    config = get_pretrained_cfg(model.model_name)
    pair = (config.mean, config.std) if config else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    mean, std = (torch.tensor(value).view(-1, 1, 1) for value in pair)
    return (torch.from_numpy(pixels).permute(2, 0, 1) / 255 - mean) / std


def place(folder: str, name: str) -> Path:
    """File in the folder, which is made."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder) / name.replace('/', '_').replace(':', '_')


def weights(checkpoint: str | None) -> str:
    """Which weights, for a title."""
    return f'weights of {Path(checkpoint).name}' if checkpoint else 'weights at random'


def panel(axis: Any, image: Any, title: str) -> None:
    """A picture without ticks."""
    if image is not None:
        axis.imshow(image)
    axis.set_title(title, fontsize=9)
    axis.set(xticks=[], yticks=[])
