"""Swin-MLP: Swin Transformer with its attention replaced by one linear map over the positions of a window, which is
the same for all windows and another one for each group of channels.

Paper: none of its own; released with Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, arXiv
    2103.14030 (ICCV 2021).
Code: microsoft/Swin-Transformer@f82860b, MIT.
Differs: The code takes one image size alone. Here any size works: maps are padded with zeros at the right and the
    bottom to whole windows, behind the norm, and to even sides before patches are merged, as Swin's detectors do.
    Patches are merged at the start of a stage instead of the end of the one before, and their four positions are
    gathered row by row, the code's column by column; published weights are reordered. The code's absolute position
    embedding and its switch of the stem's norm have no published weights and are left out.

Shapes: B batch, H and W height and width of the map, C channels, w side of a window, N windows of all images, c = C /
    heads channels of a head.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath, calculate_drop_path_rates, trunc_normal_
from timm.models import generate_default_cfgs, register_model
from torch import nn

from ..base import Stage, StagedBackbone, pair
from ..build import create
from ..keys import check_fit, is_ours, rename, unwrap
from ..layers import (
    NormMlp,
    PatchEmbed,
    covering,
    fold_affine,
    free_pad,
    free_reshape,
    linear_matrix,
    require_eval,
    window_linear,
    window_partition,
)

__all__ = ['SwinMlp']

PATCH = 4  # pixels: side of a patch


class PatchMerging(nn.Module):
    """Join each 2 x 2 positions.

    y = W LN([x_00, x_01, x_10, x_11])

    Shape:
        (B, H, W, C) -> (B, ceil(H / 2), ceil(W / 2), 2 C)

    Source: microsoft/Swin-Transformer@f82860b:models/swin_mlp.py:PatchMerging
    """

    def __init__(self, dim: int, **dd: Any) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim, **dd)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, *sides, channels = x.shape
        rows, columns = (covering(side, 2) for side in sides)
        x = window_partition(free_pad(x, 1, 0, (2 * rows, 2 * columns)), 2)  # N 4 C
        x = free_reshape(x, batch, rows, columns, 4 * channels)
        return self.reduction(self.norm(x))

    def fuse(self) -> 'PatchMerging':
        """The same with the norm's weight and bias inside the linear map."""
        require_eval(self)
        fused = copy.deepcopy(self)
        fused.norm, fused.reduction = fold_affine(self.norm, self.reduction)
        return fused


class SpatialMlp(nn.Module):
    """Token mixer: one linear map over the positions of a window for each head, in windows that odd blocks shift.

    y[h, o, c] = b[h, o] + sum_i W[h, o, i] x[h, i, c]

    Shifted windows begin s positions before the map. Positions beyond the map are zeros; what is mixed into them is
    cut off.

    Args:
        dim: Channels C.
        num_heads: Groups of channels with weights of their own.
        window_size: Side w of a window in positions; less on a grid that one such window covers.
        shifted: Whether the windows are shifted by s = w // 2, if `grid` is larger than a window.
        grid: (height, width) in positions of the map that windows and shift are chosen for; others work too.

    Shape:
        (B, H, W, C) -> (B, H, W, C)

    Source: microsoft/Swin-Transformer@f82860b:models/swin_mlp.py:SwinMLPBlock
    """

    def __init__(
        self, dim: int, num_heads: int, window_size: int, shifted: bool, grid: tuple[int, int], **dd: Any
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size, self.shifted = window_size, shifted
        self.window, self.shift = self._choose(grid)
        self.weight = nn.Parameter(torch.empty(num_heads, self.window**2, self.window**2, **dd))
        self.bias = nn.Parameter(torch.zeros(num_heads, self.window**2, **dd))

    def _choose(self, grid: tuple[int, int]) -> tuple[int, int]:
        """(w, s) on a grid: a window that covers it is no larger than its shorter side and is not shifted."""
        if min(grid) <= self.window_size:
            return min(grid), 0
        return self.window_size, self.window_size // 2 if self.shifted else 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return window_linear(x, self.weight, self.bias, self.window - self.shift if self.shift else 0)

    @torch.no_grad()
    def set_grid(self, grid: tuple[int, int]) -> None:
        """Choose window and shift for another grid; where the window changes, resample weight and bias once."""
        window, self.shift = self._choose(grid)
        if window != self.window:
            weight, bias = resize_window(self.weight, self.bias, window)
            self.weight = nn.Parameter(weight, self.weight.requires_grad)
            self.bias = nn.Parameter(bias, self.bias.requires_grad)
            self.window = window

    def extra_repr(self) -> str:
        return f'heads={self.num_heads}, window={self.window}, shift={self.shift}'


def resize_window(weight: torch.Tensor, bias: torch.Tensor, window: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (heads, v*v, v*v) and bias (heads, v*v) of windows of side v for windows of side `window`.

    The new map equals resizing a window to side v, the old map, and resizing back, all linearly: W' = R W S, b' = R b.
    """
    old = math.isqrt(bias.shape[1])
    back, there = linear_matrix(window, old, weight), linear_matrix(old, window, weight)
    back, there = torch.kron(back, back), torch.kron(there, there)  # window^2 v^2, v^2 window^2
    return back @ weight @ there, bias @ back.mT


class Block(nn.Module):
    """Token mixer, then channel mixer.

    z = x + drop_path(SpatialMlp(LN(x)));  y = z + drop_path(MLP(LN(z)))

    Shape:
        (B, H, W, C) -> (B, H, W, C)

    Source: microsoft/Swin-Transformer@f82860b:models/swin_mlp.py:SwinMLPBlock
    """

    def __init__(self, dim: int, mixer: SpatialMlp, mlp_ratio: float, drop_path: float = 0.0, **dd: Any) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, **dd)
        self.mixer = mixer
        self.mlp = NormMlp(dim, int(dim * mlp_ratio), **dd)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.drop_path(self.mixer(self.norm(x)))
        return x + self.drop_path(self.mlp(x))


class SwinMlp(StagedBackbone):
    """Swin-MLP at strides 4, 8, 16 and 32.

    Args:
        embed_dim: Channels of the first stage; each further stage has twice as many.
        depths: Blocks of the stages.
        num_heads: Heads of the spatial maps in each stage.
        window_size: Side of a window in positions.
        mlp_ratio: Hidden width of the channel mixers, as a multiple of their channels.
        img_size: Side or (height, width) in pixels that windows are chosen for: where a stage's map is no larger than
            a window, its windows are as large as its shorter side and not shifted. Any other size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth at the last block, growing linearly from 0 (published: 0.2 for the tiny
            models, 0.5 for the base one).

    Raises:
        ValueError: The numbers of stages differ, a count is less than 1, or heads do not divide channels.

    Source: microsoft/Swin-Transformer@f82860b:models/swin_mlp.py:SwinMLP
    """

    def __init__(
        self,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (4, 8, 16, 32),
        window_size: int = 8,
        mlp_ratio: float = 4.0,
        img_size: int | Sequence[int] = 256,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            in_chans=in_chans,
            global_pool=global_pool,
            drop_rate=drop_rate,
            img_size=img_size,
            layout='NHWC',
        )
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        dims = [embed_dim * 2**i for i in range(len(depths))]
        _check(dims, depths, num_heads, window_size)
        self.stem = PatchEmbed(in_chans, embed_dim, PATCH, **dd)
        rates: Any = iter(calculate_drop_path_rates(drop_path_rate, sum(depths)))
        stages: list[Stage] = []
        for i, (dim, depth, heads) in enumerate(zip(dims, depths, num_heads, strict=True)):
            reduction = PATCH * 2**i
            height, width = (-(-side // reduction) for side in pair(img_size))
            blocks = []
            for d in range(depth):
                mixer = SpatialMlp(dim, heads, window_size, d % 2 == 1, (height, width), **dd)
                blocks.append(Block(dim, mixer, mlp_ratio, next(rates), **dd))
            stages.append(Stage(PatchMerging(dims[i - 1], **dd) if i else nn.Identity(), blocks))
            self.feature_info.append({'num_chs': dim, 'reduction': reduction, 'module': f'stages.{i}'})
        self.stages = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(dims[-1], **dd)
        self._finish(**dd)

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Linear layers and spatial maps: normal, cut at two, with standard deviation 0.02; zero biases."""
        if isinstance(module, (nn.Linear, SpatialMlp)):
            trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _check(dims: Sequence[int], depths: Sequence[int], num_heads: Sequence[int], window_size: int) -> None:
    if not depths or len(depths) != len(num_heads) or min(*depths, *num_heads, window_size, *dims) < 1:
        raise ValueError(
            'Swin-MLP needs a depth and a number of heads for each stage, all of them, embed_dim and window_size at '
            f'least 1, but got embed_dim={dims[0] if dims else 0}, depths={tuple(depths)}, '
            f'num_heads={tuple(num_heads)}, window_size={window_size}.'
        )
    for dim, heads in zip(dims, num_heads, strict=True):
        if dim % heads:
            raise ValueError(
                f'Heads must divide the channels of their stage, {", ".join(map(str, dims))}, but got num_heads='
                f'{tuple(num_heads)}: {dim} is no multiple of {heads}. Give other num_heads or embed_dim.'
            )


_BLOCK = 'layers.{s}.blocks.{b}', 'stages.{s}.blocks.{b}'

KEYS: dict[str, str | None] = {
    'patch_embed.{n}.{p}': 'stem.{n}.{p}',
    f'{_BLOCK[0]}.norm1.{{p}}': f'{_BLOCK[1]}.norm.{{p}}',
    f'{_BLOCK[0]}.spatial_mlp.{{p}}': f'{_BLOCK[1]}.mixer.{{p}}',
    f'{_BLOCK[0]}.norm2.{{p}}': f'{_BLOCK[1]}.mlp.norm.{{p}}',
    f'{_BLOCK[0]}.mlp.{{fc}}.{{p}}': f'{_BLOCK[1]}.mlp.{{fc}}.{{p}}',
    # patches are merged at the end of a published stage and at the start of ours
    'layers.{s}.downsample.{n}.{p}': 'stages.{s+1}.downsample.{n}.{p}',
    'norm.{p}': 'norm.{p}',
    'head.{p}': 'head.{p}',
}


def checkpoint_filter_fn(checkpoint: Mapping, model: SwinMlp) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes.

    For another `img_size` the spatial maps are resampled to its windows as `set_input_size` does.
    """
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        state = rename(state, KEYS)
        state.update({key: _by_rows(value) for key, value in state.items() if '.downsample.' in key})
    for name, mixer in model.named_modules():
        weight, bias = f'{name}.weight', f'{name}.bias'
        if isinstance(mixer, SpatialMlp) and weight in state and bias in state:
            state[weight], state[bias] = _adapt_map(mixer, state[weight], state[bias])
    return check_fit(model, state, adapt=('head', 'stem.proj'))


def _adapt_map(mixer: SpatialMlp, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A spatial map of a checkpoint, in which heads and outputs may share an axis, for the windows of `mixer`."""
    area = bias.numel() // mixer.num_heads
    side = math.isqrt(area)
    if side**2 != area or bias.numel() != mixer.num_heads * area or weight.numel() != bias.numel() * area:
        return weight, bias  # no such map: check_fit says so
    weight, bias = weight.reshape(-1, area, area), bias.reshape(-1, area)
    return (weight, bias) if side == mixer.window else resize_window(weight, bias, mixer.window)


def _by_rows(value: torch.Tensor) -> torch.Tensor:
    """Merged positions, along the last axis, from column by column to row by row."""
    if value.shape[-1] % 4:
        return value
    return value.unflatten(-1, (2, 2, -1)).transpose(-3, -2).flatten(-3)


def _cfg(name: str, size: int, **kwargs: Any) -> dict[str, Any]:
    return {
        'url': f'https://github.com/SwinTransformer/storage/releases/download/v1.0.5/{name}.pth',
        'num_classes': 1000,
        'input_size': (3, size, size),
        'pool_size': (size // 32, size // 32),
        'crop_pct': 0.875,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.proj',
        'classifier': 'head',
        'license': 'mit',
        'origin_url': 'https://github.com/microsoft/Swin-Transformer',
        'paper_name': 'Swin Transformer: Hierarchical Vision Transformer using Shifted Windows',
        'paper_ids': 'arXiv:2103.14030',
        **kwargs,
    }


_SIZES = {
    'swin_mlp_tiny_c6_patch4_window8_256': 256,
    'swin_mlp_tiny_c12_patch4_window8_256': 256,
    'swin_mlp_tiny_c24_patch4_window8_256': 256,
    'swin_mlp_base_patch4_window7_224': 224,
}

default_cfgs = generate_default_cfgs({f'{name}.ms_in1k': _cfg(name, size) for name, size in _SIZES.items()})


def _swin_mlp(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(SwinMlp, variant, pretrained, checkpoint_filter_fn, **kwargs)


@register_model
def swin_mlp_tiny_c6_patch4_window8_256(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Swin-MLP-T with 6 channels a head, 22.7 M parameters, 4.1 G MACs at 256 x 256."""
    args = {'embed_dim': 96, 'depths': (2, 2, 6, 2), 'num_heads': (16, 32, 64, 128), 'window_size': 8, 'img_size': 256}
    return _swin_mlp('swin_mlp_tiny_c6_patch4_window8_256', pretrained, **{**args, **kwargs})


@register_model
def swin_mlp_tiny_c12_patch4_window8_256(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Swin-MLP-T with 12 channels a head, 21.2 M parameters, 4.1 G MACs at 256 x 256."""
    args = {'embed_dim': 96, 'depths': (2, 2, 6, 2), 'num_heads': (8, 16, 32, 64), 'window_size': 8, 'img_size': 256}
    return _swin_mlp('swin_mlp_tiny_c12_patch4_window8_256', pretrained, **{**args, **kwargs})


@register_model
def swin_mlp_tiny_c24_patch4_window8_256(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Swin-MLP-T with 24 channels a head, 20.4 M parameters, 4.1 G MACs at 256 x 256."""
    args = {'embed_dim': 96, 'depths': (2, 2, 6, 2), 'num_heads': (4, 8, 16, 32), 'window_size': 8, 'img_size': 256}
    return _swin_mlp('swin_mlp_tiny_c24_patch4_window8_256', pretrained, **{**args, **kwargs})


@register_model
def swin_mlp_base_patch4_window7_224(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Swin-MLP-B, 60.7 M parameters, 10.4 G MACs at 224 x 224."""
    args = {'embed_dim': 128, 'depths': (2, 2, 18, 2), 'num_heads': (4, 8, 16, 32), 'window_size': 7, 'img_size': 224}
    return _swin_mlp('swin_mlp_base_patch4_window7_224', pretrained, **{**args, **kwargs})
