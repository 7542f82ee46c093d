"""Effective receptive fields of a backbone, for `look.py field`."""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from tools import look_maps, pictures, plots
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import look_maps  # type: ignore[no-redef]
    import pictures  # type: ignore[no-redef]
    import plots  # type: ignore[no-redef]

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SHARES = {0.5: 'white', 0.99: 'deepskyblue'}  # of a field, with the colours of their squares
_FAINT = 1e-4  # of the largest value: what is darker is black


def draw(options: argparse.Namespace) -> str:
    """Draw the field of each level, and print how large it is.

    Args:
        options: Of `look.py field`.

    Returns:
        What was written where.
    """
    look_maps.check_size(options.img_size)
    if options.images < 1:
        raise ValueError(f'--images must be at least 1, got {options.images}')
    paths = pictures.find('--pictures', options.pictures, options.images) if options.pictures else None
    model = look_maps.backbone(options)
    levels = look_maps.check_levels(options.level, len(model.channels), options.name)
    inputs = _noise(model, options) if paths is None else _pictures(model, paths, options.img_size)
    fields = effective_fields(lambda batch: look_maps.maps(model, batch), inputs, levels)
    path = look_maps.place(options.out, f'field_{options.name}.png')
    count, kind = (options.images, 'noise') if paths is None else (len(paths), Path(options.pictures).name)
    seen = f'mean over {count} image{"s" * (count > 1)} of {kind}'
    title = f'{options.name}, effective receptive field, {seen}, {look_maps.weights(options.checkpoint)}'
    _plot(path, {level: (model.strides[level], field) for level, field in zip(levels, fields, strict=True)}, title)
    return f'the effective receptive fields of {options.name} are in {path}'


def _plot(path: Path, fields: 'dict[int, tuple[int, np.ndarray]]', title: str) -> None:
    """Draw stride and field of each level, and print how large it is."""
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    rows, columns = look_maps.grid(len(fields))
    size = 3.4 * columns + 0.9, 4 * rows + 0.4
    with plots.subplots(str(path), rows, columns, figsize=size, squeeze=False) as axes:
        for axis in axes.flat[len(fields) :]:
            axis.axis('off')
        for axis, (level, (stride, field)) in zip(axes.flat, fields.items(), strict=False):
            squares = {share: smallest_square(field, share) for share in SHARES}
            said = ', '.join(f'{share:.0%} in {square[0]} px' for share, square in squares.items())
            print(f'level {level}, stride {stride}: {said} of {len(field)}')
            look_maps.panel(axis, None, f'level {level}, stride {stride}\n{said}')
            axis.set_facecolor('black')
            image = axis.imshow(field / field.max(), norm=LogNorm(_FAINT, 1), cmap='inferno')
            for share, (side, top, left) in squares.items():
                corner = (left - 0.5, top - 0.5)
                axis.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=SHARES[share], linewidth=1.2))
        figure = axes[0, 0].figure
        figure.colorbar(image, ax=axes, fraction=0.05, aspect=30, label='of the largest')
        marks = [Rectangle((0, 0), 1, 1, fill=False, edgecolor=colour) for colour in SHARES.values()]
        names = [f'smallest square with {share:.0%}' for share in SHARES]
        figure.legend(marks, names, loc='outside lower center', ncols=2, facecolor='black', labelcolor='white')
        look_maps.headline(figure, title, columns)


def effective_fields(
    model: 'Callable[[Tensor], Sequence[Tensor]]', inputs: 'Iterable[Tensor]', levels: Sequence[int]
) -> 'list[np.ndarray]':
    """How much each pixel moves the centre of a map.

    field = mean over pictures and colours of abs(d sum over channels c of s_c map[c, h // 2, w // 2] / d picture)

    The signs s_c = +-1 are drawn anew for each picture: the plain sum of channels behind a LayerNorm is a constant.

    Args:
        model: Gives maps (B, C, h, w) of pictures (B, 3, H, W).
        inputs: Pictures (3, H, W), all of one size.
        levels: Which maps.

    Returns:
        Array (H, W) of float64 for each level.

    Source: Luo et al., Understanding the Effective Receptive Field in Deep Convolutional Neural Networks,
        arXiv 1701.04128: a gradient at the centre alone, propagated back to the picture.

    Raises:
        ValueError: No pixel moves the centre of a level.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    total: list[Any] = [0.0] * len(levels)
    count = 0
    for count, picture in enumerate(inputs, 1):  # noqa: B007 (how many there were)
        batch = picture[None].requires_grad_()
        found = model(batch)
        for i, level in enumerate(levels):
            one = found[level]
            signs = 2.0 * torch.randint(0, 2, (one.shape[1],), generator=generator) - 1
            centre = one[0, :, one.shape[2] // 2, one.shape[3] // 2]
            gradient = torch.autograd.grad(centre @ signs.to(centre), batch, retain_graph=i < len(levels) - 1)[0]
            total[i] = total[i] + gradient[0].double().abs().mean(0)
    for level, field in zip(levels, total, strict=True):
        if not (torch.isfinite(field).all() and field.any()):
            raise ValueError(
                f'the pixels must move the centre of level {level}, but none does, or by no finite number (random '
                'weights of a network of spikes may fire nothing): give a --checkpoint, or other --pictures'
            )
    return [(field / count).numpy() for field in total]


def smallest_square(field: 'np.ndarray', share: float) -> tuple[int, int, int]:
    """Side, top and left of the smallest square that holds a share of the field.

    It lies anywhere in the picture: with strides the middle of a field is not the middle of its cell.
    """
    import numpy as np

    sums = np.pad(field, ((1, 0), (1, 0))).cumsum(0).cumsum(1)  # (H + 1, W + 1)

    def best(side: int) -> tuple[float, int, int]:
        y, x = min(side, field.shape[0]), min(side, field.shape[1])
        held = sums[y:, x:] - sums[:-y, x:] - sums[y:, :-x] + sums[:-y, :-x]
        top, left = np.unravel_index(held.argmax(), held.shape)
        return float(held.max()), int(top), int(left)

    wanted = share * field.sum() * (1 - 1e-9)  # the sums round
    low, high = 1, max(field.shape)
    while low < high:  # the larger the side, the more it holds
        middle = (low + high) // 2
        low, high = (low, middle) if best(middle)[0] >= wanted else (middle + 1, high)
    return low, *best(low)[1:]


def _pictures(model: Any, paths: Iterable[Path], size: int) -> 'Iterator[Tensor]':
    for path in paths:
        with look_maps.read(path) as picture:
            yield look_maps.normalized(model, look_maps.resized(picture, size, size))


def _noise(model: Any, options: argparse.Namespace) -> 'Iterator[Tensor]':
    """With the mean and the deviation that the model expects."""
    import torch

    generator = torch.Generator().manual_seed(0)
    for _ in range(options.images):
        yield torch.randn(model.in_chans, options.img_size, options.img_size, generator=generator)
