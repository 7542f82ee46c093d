"""What tokenizers of spiking networks are chains of: convolution, batch normalisation, neuron, and a pooling."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from .conv_norm import ConvNorm
from .max_pool import MaxPool
from .spiking import Neuron, Repeat

__all__ = ['SpikingConv', 'split_stem', 'stem_levels']


class SpikingConv(nn.Module):
    """Convolution with batch normalisation, then a neuron, with a pooling of 3 x 3 to half the size next to it.

    y = neuron(BN(W * x))
    y = pool(neuron(BN(W * x)))     (`pool='spikes'`)
    y = neuron(pool(BN(W * x)))     (`pool='membrane'`)

    The first of a network sees the same image at every step. Given a `Repeat`, it convolves the image once and shows
    the neuron the result T times. Batch statistics are those of the repeated batch; the running variance grows by
    another unbiased factor, n / (n - 1) of n positions of the batch, which is the only difference.

    Args:
        in_chs: Channels of the input.
        out_chs: Channels of the output.
        neuron: Makes a neuron.
        kernel_size: Side of the kernel in pixels.
        pool: What is pooled, spikes or the input of the neuron, if anything.
        repeat: Turns what is constant in time into T steps, in front of the neuron.
        **kwargs: Further arguments of `ConvNorm`.

    Shape:
        (T * B, in_chs, H, W), or (B, in_chs, H, W) with `repeat` -> (T * B, out_chs, H, W), or
        (T * B, out_chs, ceil(H / 2), ceil(W / 2)) with `pool`.
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        neuron: Callable[..., Neuron],
        kernel_size: int = 3,
        pool: Literal['spikes', 'membrane'] | None = None,
        repeat: Repeat | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.conv = ConvNorm(in_chs, out_chs, kernel_size, **kwargs)
        self.neuron = neuron()
        self.pool = MaxPool() if pool else nn.Identity()
        self.repeat = repeat if repeat else nn.Identity()
        self.pool_first = pool == 'membrane'

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        if self.pool_first:
            return self.neuron(self.repeat(self.pool(x)))
        return self.pool(self.neuron(self.repeat(x)))


def stem_levels(layers: int, pools: Sequence[int], most: int = 2) -> tuple[list[int], list[int]]:
    """Which layers of a stem are feature levels, and the strides behind all of them.

    Levels are the last layers at their stride, the last stride excepted, which belongs to the blocks.

    Args:
        layers: Number of layers.
        pools: Those that halve the map, counted from 0.
        most: Levels at most, those of the largest strides.

    Returns:
        Indices of the levels; stride behind each layer.

    Raises:
        ValueError: A pool is named twice or belongs to no layer, or there are fewer than two.
    """
    if len(set(pools)) < 2 or len(set(pools)) != len(pools) or not set(pools) <= set(range(layers)):
        raise ValueError(
            f'pools must name at least two different ones of the {layers} layers of the stem, counted from 0, but got '
            f'{tuple(pools)}.'
        )
    strides = [2 ** sum(pool <= layer for pool in pools) for layer in range(layers)]
    return [layer for layer in range(layers - 1) if strides[layer] != strides[layer + 1]][-most:], strides


def split_stem(layers: Sequence[nn.Module], levels: Sequence[int]) -> tuple[list[nn.Sequential], dict[str, str]]:
    """A stem in pieces that each end in a feature level, but for the last.

    The first piece is the model's `stem`, each further one the `downsample` of a stage, the last of them that of the
    blocks' stage.

    Args:
        layers: Layers of the stem.
        levels: Indices of those that are feature levels.

    Returns:
        The pieces; `stem.N` of the N-th layer -> its name in the model.
    """
    ends = [*(level + 1 for level in levels), len(layers)]
    pieces = [nn.Sequential(*layers[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    owners = ['stem', *(f'stages.{i}.downsample' for i in range(len(levels)))]
    names = [f'{owner}.{j}' for owner, piece in zip(owners, pieces, strict=True) for j in range(len(piece))]
    return pieces, {f'stem.{i}': name for i, name in enumerate(names)}
