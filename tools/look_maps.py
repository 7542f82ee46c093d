"""Feature maps of a backbone on a picture, for `look.py maps`, and what other views of a backbone need too."""

import argparse
import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from tools import models, pictures, plots
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import models  # type: ignore[no-redef]
    import pictures  # type: ignore[no-redef]
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
    with read(options.picture) as image:
        model = backbone(options)
        levels = check_levels(options.level, len(model.channels), options.name)
        pixels, found = look(model, image, options.img_size)
    path = place(options.out, f'maps_{options.name}.png', options.picture)
    rows, columns = grid(len(levels) + 1)
    height = 3.2 * pixels.shape[0] / pixels.shape[1] + 0.5
    with plots.subplots(str(path), rows, columns, figsize=(3.2 * columns, height * rows + 0.3), squeeze=False) as axes:
        panel(axes[0, 0], pixels, f'{Path(options.picture).name}, {pixels.shape[1]} x {pixels.shape[0]}')
        for axis, level in zip(axes.flat[1:], levels, strict=False):
            one = found[level]
            # the signed mean of maps behind a LayerNorm is nothing but rounding
            mean = one.float().abs().mean(1, keepdim=True)
            title = f'level {level}: {one.shape[1]} maps of {one.shape[3]} x {one.shape[2]}'
            if mean.min() == mean.max():
                title += f'\nall places the same, {float(mean.max()):.3g}'
            # enlarged here, since draw_featmap warns of maps that are smaller than the picture
            large = torch.nn.functional.interpolate(mean, pixels.shape[:2], mode='bilinear')[0]
            panel(axis, Visualizer.draw_featmap(large, pixels, channel_reduction='squeeze_mean'), title)
        for axis in axes.flat[len(levels) + 1 :]:
            axis.axis('off')
        title = f'{options.name}, mean magnitude of the channels, {weights(options.checkpoint)}'
        headline(axes[0, 0].figure, title, columns)
    return f'the maps of {options.name} are in {path}'


def look(model: Any, image: Any, side: int) -> 'tuple[np.ndarray, Sequence[Tensor]]':
    """Picture as the model gets it, and all its maps; one that takes its own size alone gets the picture squeezed.

    Args:
        model: What `backbone` gives.
        image: Pillow's.
        side: Pixels of the longer side.

    Raises:
        ValueError: The model takes neither size.
    """
    import torch

    from backbones.deploy.sizes import input_size

    scale = side / max(image.size)
    pixels = resized(image, *(max(_MULTIPLE, round(one * scale / _MULTIPLE) * _MULTIPLE) for one in image.size))
    with torch.no_grad():
        try:
            return pixels, maps(model, normalized(model, pixels)[None])
        except ValueError as error:
            try:
                _, height, width = input_size(model.net, None, False)
                pixels = resized(image, width, height)
                found = maps(model, normalized(model, pixels)[None])
            except ValueError:
                raise error from None
    print(f'the picture is squeezed into {width} x {height} pixels: {model.model_name} was made for that size alone')
    return pixels, found


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

    A layer scale is a parameter that starts at one value for all channels, by whatever name. Training opens them;
    before it, a residual network such as timm's ResNet is a chain of its shortcuts.
    """
    import torch
    from torch import nn

    norms = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
    count = 0
    with torch.no_grad():
        for module in model.modules():
            for name, scale in module.named_parameters(recurse=False):
                equal = scale.numel() > 1 and bool(scale.min() == scale.max() != 0)
                named = name == 'gamma' or (name == 'weight' and isinstance(module, norms))
                if (named or equal) and scale.abs().max() <= 0.01:
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
    """Picture (C, H, W) with the mean and the deviation that the model's weights expect; grey for one channel.

    Raises:
        ValueError: The model takes neither colours nor grey.
    """
    import numpy as np
    import torch
    from PIL import Image
    from timm import get_pretrained_cfg
    from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    channels = model.in_chans
    if channels not in pictures.MODES:
        raise ValueError(f'{model.model_name} must take 1 or 3 channels to be shown a picture, but takes {channels}')
    values = np.array(Image.fromarray(pixels).convert(pictures.MODES[channels])).reshape(*pixels.shape[:2], channels)
    config = get_pretrained_cfg(model.model_name)
    pair = (config.mean, config.std) if config else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    if len(pair[0]) != channels:  # timm's rule for other channels
        pair = tuple((statistics.fmean(value),) * channels for value in pair)
    mean, std = (torch.tensor(value).view(-1, 1, 1) for value in pair)
    return (torch.from_numpy(values).permute(2, 0, 1) / 255 - mean) / std


def grid(count: int, most: int = 6) -> tuple[int, int]:
    """Rows and columns for so many panels, with so many in a row at most."""
    rows = -(-count // most)
    return rows, -(-count // rows)


def place(folder: str, name: str, picture: str | Path | None = None) -> Path:
    """File in the folder, which is made; no picture is drawn over itself."""
    path = Path(folder) / name.replace('/', '_').replace(':', '_')
    if picture is not None and path.resolve() == Path(picture).resolve():
        raise ValueError(f'--out must be another folder than that of {picture}, which would be written over')
    Path(folder).mkdir(parents=True, exist_ok=True)
    return path


def weights(checkpoint: str | None) -> str:
    """Which weights, for a title."""
    return f'weights of {Path(checkpoint).name}' if checkpoint else 'weights at random'


def headline(figure: Any, text: str, columns: float) -> None:
    """Title over all panels, in as many lines as it needs."""
    figure.suptitle('\n'.join(textwrap.wrap(text, int(34 * columns))))


def panel(axis: Any, image: Any, title: str) -> None:
    """A picture without ticks."""
    if image is not None:
        axis.imshow(image)
    axis.set_title(title, fontsize=9)
    axis.set(xticks=[], yticks=[])
