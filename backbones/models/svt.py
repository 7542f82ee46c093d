"""SVT: the first stage takes its map apart with a dual-tree complex wavelet transform, weighs the low frequencies at
every position, blends the high ones over the channels, and puts the map together; the other stages attend globally.

Paper: Scattering Vision Transformer: Spectral Mixing Matters, arXiv 2311.01310 (NeurIPS 2023).
Code: badripatro/svt@fcbc9b3; no licence stated.
Differs: The paper's chosen model blends high frequencies over channels and then over tokens, as its parameter counts
    show; the released models blend over channels alone, and so do ours by default (`mixing`). The paper's figure has
    scattering in two stages, the code in one (`scatter_stages`). The code takes 224 x 224 pixels alone, where no map
    has an odd side; here tables of fixed extent are resampled bilinearly. Trained with token labels, the code mixes
    tokens of two images and gives dense outputs; here training gives one tensor, as evaluation does in the code.

Shapes: B batch, H and W height and width of the map, C channels, N = H W positions, k class tokens.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath, calculate_drop_path_rates, trunc_normal_
from timm.models import generate_default_cfgs, register_model
from torch import nn

from ..base import Stage, StagedBackbone, pair
from ..build import create
from ..keys import check_fit, is_ours, rename, unwrap
from ..layers import (
    ClassBlock,
    ComplexBlend,
    ConvNorm,
    MapAttention,
    NormConvMlp,
    RowBlend,
    TokenLabelHead,
    covering,
    fits_scatter,
    free_reshape,
    full_precision,
    inverse_wavelet,
    phases,
    resize_table,
    scatter_in_parts,
    wavelet,
    widened,
)

__all__ = ['Svt']

Mixing = Literal['channel', 'channel_token']

EPS = 1e-6  # of every layer normalisation but those of the embeddings
BLOCKS = 4  # blocks of channels in which complex numbers are blended
MAPS = 6  # orientations of the transform


class Embed(nn.Module):
    """Halve a map.

    y = LN(W * x + b),  3 x 3

    Shape:
        (B, in_chs, H, W) -> (B, ceil(H / 2), ceil(W / 2), out_chs)

    Source: badripatro/svt@fcbc9b3:svt.py:DownSamples
    """

    def __init__(self, in_chs: int, out_chs: int, **dd: Any) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chs, out_chs, 3, 2, 1, **dd)
        self.norm = nn.LayerNorm(out_chs, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous(memory_format=torch.channels_last)  # so that the norm gets its axis last without a copy
        return self.norm(self.proj(x).permute(0, 2, 3, 1))  # B C H W -> B H W C


class Downsample(Embed):
    """`Embed` of a map with channels last.

    Shape:
        (B, H, W, in_chs) -> (B, ceil(H / 2), ceil(W / 2), out_chs)
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 3, 1, 2))


class Scatter(nn.Module):
    """Token mixer: weigh the low frequencies, blend the high ones.

    y = T^-1(w * l, blend(z)),  (l, z) = T(x)

    T is the wavelet transform, l its real low map, z its complex maps. It computes in float32 at least.

    Args:
        dim: Channels C.
        grid: (height, width) in positions of the map that the table w is made for; on others it is resampled.

    Shape:
        (B, H, W, C) -> (B, H, W, C)

    Source: badripatro/svt@fcbc9b3:svt.py:SVT_channel_mixing
    """

    def __init__(self, dim: int, grid: tuple[int, int], **dd: Any) -> None:
        super().__init__()
        self.low = nn.Parameter(0.02 * torch.randn(dim, *_even(grid), **dd))
        self.blend = ComplexBlend(dim, BLOCKS, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if fits_scatter(x, *self.parameters()):
            return scatter_in_parts(x, self.table(*x.shape[1:3]), *self.blend.layers())
        return self.scatter(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).to(x.dtype)  # B H W C -> B C H W and back

    def scatter(self, x: torch.Tensor) -> torch.Tensor:
        """The equation, (B, C, H, W) -> (B, C, H, W)."""
        height, width = x.shape[2:]
        with full_precision(x):
            low, real, imaginary = wavelet(widened(x))
            low = low * self.table(height, width).to(low.dtype)
            return inverse_wavelet(low, *self.mix(real, imaginary), height, width)

    def mix(self, real: torch.Tensor, imaginary: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.blend(real, imaginary)

    def table(self, height: Any, width: Any) -> torch.Tensor:
        """The table w for a map of that size, ordered as the transform orders its low map."""
        order = [phases(covering(side, 2), self.low) for side in (height, width)]
        if self._fits(height, width):
            return self.low.index_select(1, order[0]).index_select(2, order[1])
        return resize_table(self.low, 2 * covering(height, 2), 2 * covering(width, 2), *order)

    def _fits(self, height: Any, width: Any) -> bool:
        return isinstance(height, int) and isinstance(width, int) and self.low.shape[1:] == _even((height, width))

    @torch.no_grad()
    def set_grid(self, grid: tuple[int, int]) -> None:
        """Make the tables anew for another map, resampled bilinearly."""
        if not self._fits(*grid):
            self.low = nn.Parameter(resize_table(self.low, *_even(grid)), self.low.requires_grad)


class TokenScatter(Scatter):
    """Token mixer: half of the channels are convolved, the others scattered and blended over their rows too.

    y_2i = (DW_3 * x)_i,  y_2i+1 = T^-1(w * l, rows(blend(z)))_i,  (l, z) = T(x_C/2, ..., x_C-1)

    Shape:
        (B, H, W, C) -> (B, H, W, C)

    Source: badripatro/svt@fcbc9b3:svt.py:SVT_channel_token_mixing
    """

    def __init__(self, dim: int, grid: tuple[int, int], **dd: Any) -> None:
        half = dim // 2
        super().__init__(half, grid, **dd)
        self.conv = nn.Conv2d(half, half, 3, padding=1, groups=half, **dd)
        self.rows = RowBlend(_half(grid), **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, height, width, channels = x.shape
        first, second = x.permute(0, 3, 1, 2).chunk(2, 1)  # B C/2 H W
        parts = [self.conv(first), self.scatter(second).to(x.dtype)]
        parts = [free_reshape(part.permute(0, 2, 3, 1), batch, height * width, channels // 2, 1) for part in parts]
        return free_reshape(torch.cat(parts, 3), batch, height, width, channels)

    def mix(self, real: torch.Tensor, imaginary: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.rows(*self.blend(real, imaginary), MAPS)

    def set_grid(self, grid: tuple[int, int]) -> None:
        """Make the tables and the weights of the rows anew for another map."""
        super().set_grid(grid)
        self.rows.resize(*_half(grid))


def _half(grid: tuple[Any, Any]) -> tuple[Any, Any]:
    """Size of the complex maps of a map."""
    return covering(grid[0], 2), covering(grid[1], 2)


def _even(grid: tuple[Any, Any]) -> tuple[Any, Any]:
    """Size of the low map of a map."""
    return 2 * covering(grid[0], 2), 2 * covering(grid[1], 2)


class Block(nn.Module):
    """Token mixer, then channel mixer.

    z = x + drop_path(f(LN(x)));  y = z + drop_path(MLP(LN(z)))

    Shape:
        (B, H, W, C) -> (B, H, W, C)

    Source: badripatro/svt@fcbc9b3:svt.py:Block
    """

    def __init__(self, dim: int, mixer: nn.Module, mlp_ratio: float, drop_path: float = 0.0, **dd: Any) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, EPS, **dd)
        self.mixer = mixer
        self.mlp = NormConvMlp(dim, int(dim * mlp_ratio), EPS, **dd)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.drop_path(self.mixer(self.norm(x)))
        return x + self.drop_path(self.mlp(x))


class NormedStage(Stage):
    """A stage with a layer normalisation at its end."""

    def __init__(self, downsample: nn.Module, blocks: Sequence[nn.Module], norm: nn.Module) -> None:
        super().__init__(downsample, blocks)
        self.norm = norm

    def finish(self, x: Any, recompute: bool = False) -> Any:
        return self.norm(super().finish(x, recompute))


class Svt(StagedBackbone):
    """SVT at strides 4, 8, 16 and 32.

    `forward_features` gives the map behind the last block, without the final norm. `global_pool` makes the class token
    from it (published: 'avg'), which attends to the map and then goes to the classifier; 'catavgmax' makes two, whose
    outputs the classifier gets side by side.

    Args:
        stem_dim: Channels of the stem's first convolutions.
        embed_dims: Channels of the stages.
        depths: Blocks of the stages.
        num_heads: Heads of the attention in each stage; those of the scattering stages are not used.
        mlp_ratios: Hidden width of the channel mixers of each stage, as a multiple of its channels.
        scatter_stages: Stages, from the first on, whose token mixer scatters.
        mixing: Blend high frequencies over channels ('channel', as released) or, in half of the channels, over channels
            and then tokens ('channel_token', the paper's choice).
        token_label: Give the classifier a second part, for labels of single positions (published).
        img_size: Side or (height, width) in pixels that the tables of the scattering stages are made for; any other
            size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth at the last block, growing linearly from 0 (published: 0.1, for large
            0.3).

    Raises:
        ValueError: Numbers of stages differ, a count is less than 1, heads or blocks do not divide channels, or the
            mixing is unknown.

    Source: badripatro/svt@fcbc9b3:svt.py:SVT
    """

    head_norm = feature_norm = True

    def __init__(
        self,
        stem_dim: int = 32,
        embed_dims: Sequence[int] = (64, 128, 320, 448),
        depths: Sequence[int] = (3, 4, 6, 3),
        num_heads: Sequence[int] = (2, 4, 10, 14),
        mlp_ratios: Sequence[float] = (8, 8, 4, 4),
        scatter_stages: int = 1,
        mixing: Mixing = 'channel',
        token_label: bool = True,
        img_size: int | Sequence[int] = 224,
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
        _check(embed_dims, depths, num_heads, mlp_ratios, scatter_stages, mixing)
        self.token_label = token_label
        self.stem = nn.Sequential(
            ConvNorm(in_chans, stem_dim, 7, 2, **dd),
            nn.ReLU(),
            ConvNorm(stem_dim, stem_dim, 3, **dd),
            nn.ReLU(),
            ConvNorm(stem_dim, stem_dim, 3, **dd),
            nn.ReLU(),
            Embed(stem_dim, embed_dims[0], **dd),
        )
        scatter = TokenScatter if mixing == 'channel_token' else Scatter
        rates: Any = iter(calculate_drop_path_rates(drop_path_rate, sum(depths)))
        stages: list[Stage] = []
        for i, (dim, depth) in enumerate(zip(embed_dims, depths, strict=True)):
            reduction = 4 * 2**i
            height, width = (-(-side // reduction) for side in pair(img_size))
            blocks = []
            for _ in range(depth):
                scatters = i < scatter_stages
                mixer = scatter(dim, (height, width), **dd) if scatters else MapAttention(dim, num_heads[i], **dd)
                blocks.append(Block(dim, mixer, mlp_ratios[i], next(rates), **dd))
            down = Downsample(embed_dims[i - 1], dim, **dd) if i else nn.Identity()
            last = i == len(depths) - 1
            stages.append(Stage(down, blocks) if last else NormedStage(down, blocks, nn.LayerNorm(dim, EPS, **dd)))
            self.feature_info.append({'num_chs': dim, 'reduction': reduction, 'module': f'stages.{i}'})
        self.stages = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(embed_dims[-1], EPS, **dd)
        self.class_block = ClassBlock(embed_dims[-1], num_heads[-1], int(embed_dims[-1] * mlp_ratios[-1]), EPS, **dd)
        self._finish(**dd)

    def make_head(self, in_features: int, num_classes: int, device=None, dtype=None) -> nn.Module:
        """A linear map of the class tokens, with token labels a second one of all positions."""
        return TokenLabelHead(in_features, self.num_features, num_classes, self.token_label, device, dtype)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Class tokens from the map of `forward_features`, then the classifier; `pre_logits` stops before it."""
        if self.global_pool.is_identity():
            return x
        positions = x.permute(0, 2, 3, 1).flatten(1, 2)  # B C H W -> B N C
        classes = self.global_pool(x).unflatten(1, (-1, self.num_features))  # B k C
        classes = self.norm(self.class_block(classes, positions)).flatten(1)
        classes = F.dropout(classes, self.drop_rate, self.training)
        if pre_logits or not self.num_classes:
            return classes
        return self.head(classes, self.norm(positions))

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """As the base, and the class tokens go with the head."""
        taken = super().prune_intermediate_layers(indices, prune_norm, prune_head)
        if self.global_pool.is_identity():
            self.class_block = nn.Identity()
            self.pruned += ('class_block',)
        return taken

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Linear layers: normal, cut at two, std 0.02. Convolutions: normal by their outputs. Zero biases."""
        if isinstance(module, nn.Linear):
            trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _check(
    embed_dims: Sequence[int],
    depths: Sequence[int],
    num_heads: Sequence[int],
    mlp_ratios: Sequence[float],
    scatter_stages: int,
    mixing: str,
) -> None:
    if mixing not in get_args(Mixing):
        raise ValueError(f"mixing must be 'channel' or 'channel_token', but got {mixing!r}.")
    stages = {len(x) for x in (embed_dims, depths, num_heads, mlp_ratios)}
    if len(stages) > 1 or not depths or min(*embed_dims, *depths, *num_heads, *mlp_ratios) <= 0:
        raise ValueError(
            'SVT needs channels, a depth, heads and an MLP ratio for each stage, all of them positive, but got '
            f'embed_dims={tuple(embed_dims)}, depths={tuple(depths)}, num_heads={tuple(num_heads)}, '
            f'mlp_ratios={tuple(mlp_ratios)}.'
        )
    if not 0 <= scatter_stages <= len(depths):
        raise ValueError(f'scatter_stages must lie in [0, {len(depths)}], but got {scatter_stages}.')
    least = 2 * BLOCKS if mixing == 'channel_token' else BLOCKS
    if any(dim % least for dim in embed_dims[:scatter_stages]):
        raise ValueError(
            f"Channels of a scattering stage must be a multiple of {least} for mixing='{mixing}', but got "
            f'embed_dims={tuple(embed_dims)} and scatter_stages={scatter_stages}.'
        )


_OLD, _NEW = 'block{s}.{b}', 'stages.{s-1}.blocks.{b}'
_PAIRS = (('1', 'weight1'), ('2', 'weight2'), ('b1', 'bias1'), ('b2', 'bias2'))

KEYS: dict[str, str | None] = {
    **{
        f'patch_embed1.conv.{3 * i + j}.{{p}}': f'stem.{2 * i}.{part}.{{p}}'
        for i in range(3)
        for j, part in enumerate(('conv', 'norm'))
    },
    'patch_embed1.{n}.{p}': 'stem.6.{n}.{p}',
    'patch_embed{s}.{n}.{p}': 'stages.{s-1}.downsample.{n}.{p}',
    f'{_OLD}.norm1.{{p}}': f'{_NEW}.norm.{{p}}',
    f'{_OLD}.norm2.{{p}}': f'{_NEW}.mlp.norm.{{p}}',
    f'{_OLD}.mlp.dwconv.dwconv.{{p}}': f'{_NEW}.mlp.spatial.{{p}}',
    f'{_OLD}.mlp.{{fc}}.{{p}}': f'{_NEW}.mlp.{{fc}}.{{p}}',
    # the filters of the transform, in float32; ours are exact
    f'{_OLD}.attn.xfm.{{f}}': None,
    f'{_OLD}.attn.ifm.{{f}}': None,
    f'{_OLD}.attn.complex_weight_ll': f'{_NEW}.mixer.low',
    **{f'{_OLD}.attn.complex_weight_lh_{old}': f'{_NEW}.mixer.blend.{new}' for old, new in _PAIRS},
    **{f'{_OLD}.attn.complex_weight_lh_{old}_t': f'{_NEW}.mixer.rows.{new}' for old, new in _PAIRS},
    f'{_OLD}.attn.{{n}}.{{p}}': f'{_NEW}.mixer.{{n}}.{{p}}',
    'post_network.0.norm1.{p}': 'class_block.norm.{p}',
    'post_network.0.norm2.{p}': 'class_block.mlp.norm.{p}',
    'post_network.0.{rest...}': 'class_block.{rest}',
    'norm4.{p}': 'norm.{p}',
    'norm{s}.{p}': 'stages.{s-1}.norm.{p}',
    'head.{p}': 'head.cls.{p}',
    'aux_head.{p}': 'head.aux.{p}',
}


def checkpoint_filter_fn(checkpoint: Mapping, model: Svt) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes.

    For another `img_size` the tables of the scattering stages are resampled as `set_input_size` does.
    """
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        state = rename(state, KEYS)
    for name, module in model.named_modules():
        own = {key: state[f'{name}.{key}'] for key in module.state_dict() if f'{name}.{key}' in state}
        if isinstance(module, Scatter) and own.keys() == module.state_dict().keys():
            state.update({f'{name}.{key}': value for key, value in _resampled(module, own).items()})
    return check_fit(model, state, adapt=('head', 'stem.0.conv'))


def _resampled(mixer: Scatter, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of a mixer that was made for another size, for that of `mixer`."""
    if state['low'].ndim != 3 or state['low'].shape[1:] == mixer.low.shape[1:]:
        return state
    grid, twin = mixer.low.shape[1:], copy.deepcopy(mixer)
    for key, value in state.items():
        parent, _, leaf = key.rpartition('.')
        setattr(twin.get_submodule(parent), leaf, nn.Parameter(value))
    twin.set_grid((grid[0], grid[1]))
    return twin.state_dict()


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        'num_classes': 1000,
        'input_size': (3, 224, 224),
        'pool_size': (7, 7),
        'crop_pct': 0.96,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.0.conv',
        'classifier': ('head.cls', 'head.aux'),
        'license': 'unknown',
        'origin_url': 'https://github.com/badripatro/svt',
        'paper_name': 'Scattering Vision Transformer: Spectral Mixing Matters',
        'paper_ids': 'arXiv:2311.01310',
        **kwargs,
    }


# no weights are published
default_cfgs = generate_default_cfgs({f'{name}.untrained': _cfg() for name in ('svt_s', 'svt_b', 'svt_l')})


def _svt(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(Svt, variant, pretrained, checkpoint_filter_fn, **kwargs)


@register_model
def svt_s(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SVT-H-S, 22.1 M parameters, 5.3 G MACs at 224 x 224."""
    args = {'stem_dim': 32, 'embed_dims': (64, 128, 320, 448), 'num_heads': (2, 4, 10, 14), 'depths': (3, 4, 6, 3)}
    return _svt('svt_s', pretrained, **{**args, **kwargs})


@register_model
def svt_b(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SVT-H-B, 32.9 M parameters, 7.9 G MACs at 224 x 224."""
    args = {'stem_dim': 64, 'embed_dims': (64, 128, 320, 512), 'num_heads': (2, 4, 10, 16), 'depths': (3, 4, 12, 3)}
    return _svt('svt_b', pretrained, **{**args, **kwargs})


@register_model
def svt_l(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SVT-H-L, 54.6 M parameters, 16.0 G MACs at 224 x 224."""
    args = {'stem_dim': 64, 'embed_dims': (96, 192, 384, 512), 'num_heads': (3, 6, 12, 16), 'depths': (3, 6, 18, 3)}
    return _svt('svt_l', pretrained, **{**args, **kwargs})
