"""SpaRTAN: a light convolutional network whose spatial mixer joins kernels of two ranges and weighs their channels, and
whose channel mixer multiplies two projections, adds their product at each position's strongest channel, and turns pairs
of channels as complex numbers.

Paper: SpaRTAN: Spatial Reinforcement Token-based Aggregation Network for Visual Recognition, arXiv 2507.10999 (IJCNN
    2025).
Code: henry-pay/SpaRTAN@1715a43, Apache-2.0.
Differs: The code drops the last row or column of an odd map between stages; here maps are filled with zeros at the
    right and the bottom. Under autocast the code's residual stream is float32; here it keeps the type of the map.
    SpaRTAN-S, whose weights are published, has its widths and depths in no public text: `numbers_of` reads them off
    the weights.

Shapes: B batch, H and W height and width of the map, C channels, D = E C channels of the channel mixer.
"""

import copy
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath, trunc_normal_
from timm.models import generate_default_cfgs, register_model
from torch import nn

from ..base import Stage, StagedBackbone
from ..build import create
from ..keys import check_fit, is_ours, rename, unwrap
from ..layers import (
    BatchNorm2d,
    ChannelGate,
    ConvNorm,
    MapNorm,
    Pointwise,
    by_images,
    fold_pairs,
    fuse_conv_norm,
    gelu,
    pad_to_patches,
    peak_gate,
    require_eval,
)

__all__ = ['SpaRTAN', 'numbers_of']

EPS = 1e-6  # of every normalisation
SCALE = 1e-5  # first value of gamma and of the scales behind the mixers
PART = 2**18  # elements of a map that each thread takes at a time through a block


def _conv_norm(*args: Any, **kwargs: Any) -> ConvNorm:
    layer = ConvNorm(*args, **kwargs)
    layer.norm.eps = EPS
    return layer


class SpatialMixer(nn.Module):
    """Two ranges of neighbours of a map that is drawn away from its mean.

    p = PW(x);  q = p + gamma (p - mean(p));  y = PW([SE(GELU(BN(K_1 * q))), SE(GELU(BN(K_3 * (K_2 * q))))])

    K_1 reaches one position, K_2 and K_3 with holes two each.

    Args:
        dim: Channels C.
        depthwise: Whether the kernels are depthwise; else they are dense.

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: henry-pay/SpaRTAN@1715a43:src/model/spartan.py:SMixer
    """

    def __init__(self, dim: int, depthwise: bool, **dd: Any) -> None:
        super().__init__()
        half = dim // 2
        groups = half if depthwise else 1
        self.proj_in = Pointwise(dim, half, **dd)
        self.gamma = nn.Parameter(torch.full((1, half, 1, 1), SCALE, **dd))
        self.near = _conv_norm(half, half, 3, groups=groups, **dd)
        self.far = nn.Conv2d(half, half, 3, padding=2, dilation=2, groups=groups, bias=False, **dd)
        self.farther = _conv_norm(half, half, 3, dilation=2, groups=groups, **dd)
        self.near_gate, self.far_gate = ChannelGate(half, half // 4, **dd), ChannelGate(half, half // 4, **dd)
        self.proj_out = Pointwise(dim, dim, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.proj_in(x)
        return self.mix(torch.addcmul(-self.gamma * x.mean((2, 3), keepdim=True), x, 1 + self.gamma))

    def mix(self, x: torch.Tensor) -> torch.Tensor:
        """From q to y."""
        near, far = gelu(self.near(x)), gelu(self.farther(self.far(x)))
        return self.proj_out(torch.cat((near, far), 1), torch.cat((self.near_gate(near), self.far_gate(far)), 1))

    def fuse(self) -> 'FusedSpatialMixer':
        """The same with its norms in its convolutions and gamma in its first."""
        return FusedSpatialMixer(self)


class FusedSpatialMixer(nn.Module):
    """Deployed form of `SpatialMixer`: q = PW(x) - PW'(mean(x))."""

    mix = SpatialMixer.mix

    @torch.no_grad()
    def __init__(self, mixer: SpatialMixer) -> None:
        super().__init__()
        require_eval(mixer)
        gamma = mixer.gamma.double().flatten()
        self.proj_in, self.centre = _scaled(mixer.proj_in, 1 + gamma), _scaled(mixer.proj_in, gamma)
        self.near, self.farther = mixer.near.fuse(), mixer.farther.fuse()
        self.far, self.near_gate, self.far_gate, self.proj_out = (
            copy.deepcopy(part) for part in (mixer.far, mixer.near_gate, mixer.far_gate, mixer.proj_out)
        )
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(self.proj_in(x) - self.centre(x.mean((2, 3), keepdim=True)))


class ChannelMixer(nn.Module):
    """Products of two projections, with those of the strongest channel added, turned in pairs.

    f = w t + (w t)[argmax_c x_c];  t = GELU(PW(x));  w = PW(x);  y = PW(SE(GELU(BN(K * (f z)))))

    z are complex factors of neighbouring channels. See `layers/peaks.py`.

    Args:
        dim: Channels C.
        expand: Factor E of the channels between.
        depthwise: Whether K is depthwise; else it mixes groups of E channels.

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: henry-pay/SpaRTAN@1715a43:src/model/spartan.py:CMixer
    """

    def __init__(self, dim: int, expand: int, depthwise: bool, **dd: Any) -> None:
        super().__init__()
        wide = dim * expand
        self.theta, self.proj = nn.Conv2d(dim, wide, 1, **dd), nn.Conv2d(dim, wide, 1, **dd)
        self.factors = nn.Parameter(torch.randn(wide // 2, 2, **dd))
        self.conv = nn.Conv2d(wide, wide, 3, padding=1, groups=wide if depthwise else dim, bias=False, **dd)
        self.norm = BatchNorm2d(wide, EPS, **dd)
        self.gate = ChannelGate(wide, dim // 4, **dd)
        self.proj_out = Pointwise(wide, dim, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = peak_gate(x, self.theta, self.proj, self.factors, self.conv.weight, self.conv.bias)
        x = gelu(self.norm(x))
        return self.proj_out(x, self.gate(x))

    @torch.no_grad()
    def fuse(self) -> 'ChannelMixer':
        """The same with its norm in its convolution, and there too the factors if that sees whole pairs."""
        require_eval(self)
        fused = copy.deepcopy(self)
        conv = copy.deepcopy(self.conv).double()
        if conv.weight.shape[1] % 2 == 0:
            conv.weight = nn.Parameter(fold_pairs(conv.weight, self.factors.double()))
            fused.register_parameter('factors', None)
        fused.conv, fused.norm = fuse_conv_norm(conv, self.norm).to(self.conv.weight.dtype), nn.Identity()
        return fused


@torch.no_grad()
def _scaled(conv: Pointwise, scale: torch.Tensor) -> Pointwise:
    """A convolution that gives `conv(x)` times a factor (float64) for each channel."""
    scaled = copy.deepcopy(conv)
    assert scaled.bias is not None
    scaled.weight.copy_(conv.weight.double() * scale[:, None, None, None])
    scaled.bias.copy_(scaled.bias.double() * scale)
    return scaled


class Block(nn.Module):
    """Spatial mixer, then channel mixer, each behind a norm of the whole map.

    y = x + drop_path(s_1 SpatialMixer(N(x)));  z = y + drop_path(s_2 ChannelMixer(N(y)))

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: henry-pay/SpaRTAN@1715a43:src/model/spartan.py:Block
    """

    def __init__(self, dim: int, expand: int, dense: bool, drop_path: float = 0.0, **dd: Any) -> None:
        super().__init__()
        self.norm1, self.norm2 = MapNorm(dim, EPS, **dd), MapNorm(dim, EPS, **dd)
        # dense kernels in one mixer go with depthwise ones in the other
        self.smixer, self.cmixer = SpatialMixer(dim, not dense, **dd), ChannelMixer(dim, expand, dense, **dd)
        self.scale1, self.scale2 = (nn.Parameter(torch.full((1, dim, 1, 1), SCALE, **dd)) for _ in range(2))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return by_images(self, self.run, x, PART)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        """All images at once."""
        kind = x.dtype  # under autocast the scales would spread single precision
        x = torch.addcmul(x, self.scale1, self.drop_path(self.smixer(_normed(self.norm1, x)))).to(kind)
        return torch.addcmul(x, self.scale2, self.drop_path(self.cmixer(_normed(self.norm2, x)))).to(kind)

    def fuse(self) -> 'FusedBlock':
        """The same with the scales in the last layers of the mixers, and the mixers fused."""
        return FusedBlock(self)


class FusedBlock(nn.Module):
    """Deployed form of `Block`: y = x + SpatialMixer(N(x));  z = y + ChannelMixer(N(y))."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        require_eval(block)
        self.norm1, self.norm2 = copy.deepcopy(block.norm1), copy.deepcopy(block.norm2)
        self.smixer, self.cmixer = block.smixer.fuse(), block.cmixer.fuse()
        mixers: Any = (self.smixer, block.scale1), (self.cmixer, block.scale2)
        for mixer, scale in mixers:
            mixer.proj_out = _scaled(mixer.proj_out, scale.double().flatten())
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return by_images(self, self.run, x, PART)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        """All images at once."""
        x = x + self.smixer(_normed(self.norm1, x)).to(x.dtype)
        return x + self.cmixer(_normed(self.norm2, x)).to(x.dtype)


def _normed(norm: MapNorm, x: torch.Tensor) -> torch.Tensor:
    """Under autocast in single precision, since the channel mixer looks for the largest value."""
    return norm(x.to(norm.weight.dtype))


class Downsample(nn.Module):
    """Half the height and the width.

    y = SiLU(BN(K * x)), with kernels of 2 x 2; an odd map is filled with zeros

    Shape:
        (B, in_chs, H, W) -> (B, out_chs, ceil(H / 2), ceil(W / 2))
    """

    def __init__(self, in_chs: int, out_chs: int, **dd: Any) -> None:
        super().__init__()
        self.proj = _conv_norm(in_chs, out_chs, 2, 2, 0, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.silu(self.proj(pad_to_patches(x, 2)))


class Stem(nn.Sequential):
    """Quarter the height and the width: two convolutions with norm and GELU.

    Shape:
        (B, in_chs, H, W) -> (B, dim, ceil(H / 4), ceil(W / 4))
    """

    def __init__(self, in_chs: int, dim: int, **dd: Any) -> None:
        super().__init__(_conv_norm(in_chs, dim // 2, 3, 2, **dd), _conv_norm(dim // 2, dim, 3, 2, **dd))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous(memory_format=torch.channels_last)  # what is fastest on a processor
        for layer in self:
            x = gelu(layer(x))
        return x


class SpaRTAN(StagedBackbone):
    """SpaRTAN at strides 4, 8, 16 and 32.

    In the first half of the stages the kernels of the spatial mixers are dense and those of the channel mixers
    depthwise; in the second half the former are depthwise and the latter mix as many channels as they expand by.

    Args:
        dims: Channels of the stages, multiples of 8.
        depths: Blocks of the stages.
        expand_ratios: Channels within the channel mixers, as multiples of those of the stage.
        img_size: Side or (height, width) in pixels; no weight depends on it, any other size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth: block i of N has i / N of it (published: 0.1).

    Raises:
        ValueError: Numbers of stages differ, a width is no multiple of 8, or there is nothing to expand or no block.

    Source: henry-pay/SpaRTAN@1715a43:src/model/spartan.py:SpaRTAN
    """

    def __init__(
        self,
        dims: Sequence[int] = (32, 64, 128, 256),
        depths: Sequence[int] = (3, 3, 12, 2),
        expand_ratios: Sequence[int] = (4, 4, 2, 2),
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
        )
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        _check(dims, depths, expand_ratios)
        self.stem = Stem(in_chans, dims[0], **dd)
        rates = iter([drop_path_rate * i / sum(depths) for i in range(sum(depths))])
        stages: list[Stage] = []
        for i, (dim, depth, expand) in enumerate(zip(dims, depths, expand_ratios, strict=True)):
            dense = i < len(dims) // 2
            blocks = [Block(dim, expand, dense, next(rates), **dd) for _ in range(depth)]
            stages.append(Stage(Downsample(dims[i - 1], dim, **dd) if i else nn.Identity(), blocks))
            self.feature_info.append({'num_chs': dim, 'reduction': 4 * 2**i, 'module': f'stages.{i}'})
        self.stages = nn.Sequential(*stages)
        self._finish(**dd)

    def no_weight_decay(self) -> set[str]:
        """Gamma of the spatial mixers; the scales behind the mixers decay, as published."""
        return {name for name, _ in self.named_parameters() if name.endswith('gamma')}

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Convolutions: normal, with the variance of 2 over their fan-out; the head: normal, cut; biases: zero."""
        if isinstance(module, nn.Conv2d) or (isinstance(module, nn.Linear) and name != 'head'):
            fan_out = module.weight.numel() // module.weight.shape[1]
            fan_out //= module.groups if isinstance(module, nn.Conv2d) else 1
            nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
        elif isinstance(module, nn.Linear):
            trunc_normal_(module.weight, std=0.02)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def _check(dims: Sequence[int], depths: Sequence[int], expand_ratios: Sequence[int]) -> None:
    if not len(dims) == len(depths) == len(expand_ratios) or not depths or min(depths) < 1:
        raise ValueError(
            'SpaRTAN needs a width, a depth of at least 1 and an expand ratio for each stage, but got '
            f'dims={tuple(dims)}, depths={tuple(depths)} and expand_ratios={tuple(expand_ratios)}.'
        )
    if any(dim < 8 or dim % 8 for dim in dims) or min(expand_ratios) < 2:
        raise ValueError(
            'The widths of SpaRTAN must be multiples of 8 and its expand ratios at least 2, but got '
            f'dims={tuple(dims)} and expand_ratios={tuple(expand_ratios)}.'
        )


_MIXERS = 'layers.{i}.smixer', 'layers.{i}.cmixer'

# All blocks and what downsamples between stages are one published list; `_placed` finds the stages in it.
KEYS: dict[str, str | None] = {
    'conv.{i}.{layer}.{p}': 'stem.{i}.{layer}.{p}',
    'layers.{i}.conv.{p}': 'layers.{i}.proj.conv.{p}',
    'layers.{i}.norm.{p}': 'layers.{i}.proj.norm.{p}',
    'layers.{i}.norm_1.{p}': 'layers.{i}.norm1.{p}',
    'layers.{i}.norm_2.{p}': 'layers.{i}.norm2.{p}',
    'layers.{i}.scale_1': 'layers.{i}.scale1',
    'layers.{i}.scale_2': 'layers.{i}.scale2',
    f'{_MIXERS[0]}.h_conv.{{rest...}}': f'{_MIXERS[0]}.near.{{rest}}',
    f'{_MIXERS[0]}.l_conv.0.conv.{{p}}': f'{_MIXERS[0]}.far.{{p}}',
    f'{_MIXERS[0]}.l_conv.1.{{rest...}}': f'{_MIXERS[0]}.farther.{{rest}}',
    f'{_MIXERS[0]}.h_attn.{{rest...}}': f'{_MIXERS[0]}.near_gate.{{rest}}',
    f'{_MIXERS[0]}.l_attn.{{rest...}}': f'{_MIXERS[0]}.far_gate.{{rest}}',
    f'{_MIXERS[0]}.{{rest...}}': f'{_MIXERS[0]}.{{rest}}',
    f'{_MIXERS[1]}.conv.norm.{{p}}': f'{_MIXERS[1]}.norm.{{p}}',
    f'{_MIXERS[1]}.conv.conv.{{p}}': f'{_MIXERS[1]}.conv.{{p}}',
    f'{_MIXERS[1]}.complex': f'{_MIXERS[1]}.factors',
    f'{_MIXERS[1]}.attn.{{rest...}}': f'{_MIXERS[1]}.gate.{{rest}}',
    f'{_MIXERS[1]}.{{rest...}}': f'{_MIXERS[1]}.{{rest}}',
    'linear.{p}': 'head.{p}',
}


def _starts(state: Mapping[str, torch.Tensor]) -> list[int]:
    """Where the stages start in the published list: at 0 and at each layer that downsamples."""
    found = (re.fullmatch(r'layers\.(\d+)\.conv\.weight', key) for key in state)
    return sorted({0, *(int(match[1]) for match in found if match)})


def _placed(key: str, starts: Sequence[int]) -> str:
    """A key whose layer counts in the whole list, with its stage and what it is there."""
    match = re.fullmatch(r'layers\.(\d+)\.(.+)', key)
    if match is None:
        return key
    layer = int(match[1])
    stage = sum(start <= layer for start in starts) - 1
    block = layer - starts[stage] - (stage > 0)
    return f'stages.{stage}.' + (f'downsample.{match[2]}' if block < 0 else f'blocks.{block}.{match[2]}')


def checkpoint_filter_fn(checkpoint: Mapping, model: SpaRTAN) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes."""
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        starts = _starts(state)
        state = {_placed(key, starts): value for key, value in rename(state, KEYS).items()}
        for key, value in state.items():
            if key.endswith('.factors'):
                state[key] = value.reshape(-1, 2)
            elif '_gate.' in key or '.gate.' in key:  # 1 x 1 convolutions of a single position
                state[key] = value.reshape(value.shape[:2]) if value.ndim == 4 else value
    return check_fit(model, state, adapt=('head', 'stem.0.conv'))


def numbers_of(checkpoint: Mapping) -> dict[str, tuple[int, ...]]:
    """Widths, depths and expand ratios of published weights, as arguments of `SpaRTAN` and of `spartan_t`.

    Args:
        checkpoint: Published state dict or training checkpoint, such as that of SpaRTAN-S.

    Raises:
        ValueError: It is no published checkpoint of SpaRTAN.
    """
    state = unwrap(checkpoint)
    starts = _starts(state)
    layers = {int(match[1]) for key in state if (match := re.match(r'layers\.(\d+)\.', key))}
    ends = [*starts[1:], max(layers, default=-1) + 1]
    shapes = [state.get(f'layers.{end - 1}.cmixer.theta.weight', torch.empty(0)).shape for end in ends]
    if layers != set(range(ends[-1])) or any(len(shape) != 4 for shape in shapes):
        raise ValueError(
            'Numbers can be read off a published checkpoint of SpaRTAN, whose stages end in '
            f'layers.N.cmixer.theta.weight, but this one holds {", ".join(list(state)[:4])}, ...: give such a one.'
        )
    return {
        'dims': tuple(shape[1] for shape in shapes),
        'depths': tuple(end - start - (i > 0) for i, (start, end) in enumerate(zip(starts, ends, strict=True))),
        'expand_ratios': tuple(shape[0] // shape[1] for shape in shapes),
    }


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        'num_classes': 1000,
        'input_size': (3, 256, 256),
        'pool_size': (8, 8),
        'crop_pct': 1.0,
        'interpolation': 'bilinear',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.0.conv',
        'classifier': 'head',
        'license': 'apache-2.0',
        'origin_url': 'https://github.com/henry-pay/SpaRTAN',
        'paper_name': 'SpaRTAN: Spatial Reinforcement Token-based Aggregation Network for Visual Recognition',
        'paper_ids': 'arXiv:2507.10999',
        **kwargs,
    }


default_cfgs = generate_default_cfgs({'spartan_t': _cfg()})  # no weights of this variant are published


@register_model
def spartan_t(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SpaRTAN-T, 3.8 M parameters, 1.1 G MACs at 256 x 256."""
    args = {'dims': (32, 64, 128, 256), 'depths': (3, 3, 12, 2), 'expand_ratios': (4, 4, 2, 2)}
    return create(SpaRTAN, 'spartan_t', pretrained, checkpoint_filter_fn, **{**args, **kwargs})
