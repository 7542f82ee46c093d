"""Pictures of a folder as a model takes them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

MODES = {1: 'L', 3: 'RGB'}  # Pillow's, by channels
ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')


def find(option: str, folder: str, most: int) -> list[Path]:
    """Pictures of a folder and of the folders in it, evenly spaced in the order of their names.

    Args:
        option: Word of the command line that named the folder, for the message.
        folder: Where to look.
        most: How many to take.

    Raises:
        ValueError: There are none, or none are asked for.
    """
    paths = sorted(path for path in Path(folder).rglob('*') if path.suffix.lower() in ENDINGS)
    if not paths or most < 1:
        raise ValueError(
            f'{option} must name a folder with at least one picture ({", ".join(ENDINGS)}), and at least one must be '
            f'asked for, but got {folder} and {most}.'
        )
    count = min(most, len(paths))
    return [paths[i * len(paths) // count] for i in range(count)]


def load(
    model: Any, paths: Iterable[Path], normalize: bool = True, size: Sequence[int] | None = None
) -> 'torch.Tensor':
    """Pictures as the model's own evaluation has them, (B, C, H, W): grey ones for a model of one channel.

    Args:
        model: Model with timm's `pretrained_cfg`.
        paths: Files.
        normalize: Whether mean and standard deviation are taken off; else values lie in [0, 1].
        size: (channels, height, width) if it is not the model's own.

    Raises:
        ValueError: A file cannot be read as a picture, or pictures do not have as many channels.
    """
    import torch
    from timm.data import create_transform, resolve_model_data_config

    config: Any = resolve_model_data_config(model)
    if size:
        config.update(input_size=tuple(size))
    channels = config['input_size'][0]
    if channels not in MODES:
        raise ValueError(f'Pictures of a folder have 1 or 3 channels, but the model takes {channels}.')
    if not normalize:
        config.update(mean=(0.0,) * channels, std=(1.0,) * channels)
    transform: Any = create_transform(**config)
    return torch.stack([transform(read(path, MODES[channels])) for path in paths])


def read(path: Path, mode: str = 'RGB') -> Any:
    """A whole picture, as Pillow's `mode` has it.

    Raises:
        ValueError: The file cannot be read as one.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            return file.convert(mode)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f'{path} must be a whole picture, but cannot be read: {error}; take it out') from error
