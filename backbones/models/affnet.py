"""AFFNet: light networks whose global token mixer is a product in the frequency domain, where a small perceptron
predicts the filter from the spectrum itself. Inverted residuals lead up to it and mix its channels.

Paper: Adaptive Frequency Filters As Efficient Global Token Mixers, arXiv 2307.14008 (ICCV 2023).
Code: microsoft/TokenMixers@99dbe38, folder Adaptive Frequency Filters, MIT (a fork of Apple's CVNets).
Differs: The paper's figure mixes tokens and then channels; in the code, and so in the weights, the channel mixer comes
    first. The settings that the weights were trained with are not in the repository, and two of them change the sums
    without changing a key: the activation (`activation`; SiLU here as in the settings of MobileViT, which the fork
    starts from, ReLU in the paper's figure) and the normalisation (`attn_norm_layer`). The code's other settings of
    MobileViT (patches, heads, dropouts) do nothing and are left out.

Shapes: B batch, H and W height and width of the map, C channels, K = floor(W / 2) + 1 frequencies along the width,
    G groups of channels, D = C / G channels of a group.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import DropPath, calculate_drop_path_rates, make_divisible
from timm.models import generate_default_cfgs, register_model
from torch import nn

from ..base import Stage, StagedBackbone
from ..build import create
from ..keys import check_fit, is_ours, rename, unwrap
from ..layers import (
    Backend,
    ConvNorm,
    MapNorm,
    check_backend,
    fourier,
    free_reshape,
    full_precision,
    inverse_fourier,
    require_eval,
    widened,
)

__all__ = ['AFFNet']

THRESHOLD = 0.01  # of the soft shrinkage of a filter
WIDEST = 960  # channels in front of the classifier, at most
STRIDES = (8, 16, 32)  # that the last maps may have


class ChannelNorm(nn.LayerNorm):
    """Normalisation of each position over its channels, as the published code has it for maps.

    y = gamma (x - E[x]) / (sqrt(Var[x]) + eps) + beta;  eps is added to the deviation, not under the root

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: microsoft/TokenMixers@99dbe38:affnet/layers/normalization/layer_norm.py:LayerNorm
    """

    def __init__(self, channels: int, eps: float = 1e-5, **dd: Any) -> None:
        super().__init__(channels, eps, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = widened(x)
        deviation, mean = torch.std_mean(y, 1, correction=0, keepdim=True)
        y = (y - mean) / (deviation + self.eps)
        return (y * self.weight[:, None, None] + self.bias[:, None, None]).to(x.dtype)


ACTIVATIONS: dict[str, type[nn.Module]] = {'swish': nn.SiLU, 'relu': nn.ReLU}
NORMS: dict[str, type[nn.Module]] = {'layer_norm_2d': MapNorm, 'layer_norm': ChannelNorm}


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow.

    y = BN(W_2 act(BN(DW_3(act(BN(W_1 x))))));  y + x where the shape stays

    Args:
        in_chs: Channels of the input.
        out_chs: Channels of the output.
        stride: Step of the 3 x 3 filter in pixels.
        expand: Channels between, as a multiple of the input's, rounded to a multiple of 8.
        act: Activation.
        dilation: Distance of the 3 x 3 filter's places in pixels.

    Shape:
        (B, in_chs, H, W) -> (B, out_chs, ceil(H / stride), ceil(W / stride))

    Source: MobileNetV2, arXiv 1801.04381
    """

    def __init__(
        self, in_chs: int, out_chs: int, stride: int, expand: float, act: nn.Module, dilation: int = 1, **dd: Any
    ) -> None:
        super().__init__()
        hidden = make_divisible(round(in_chs * expand), 8)
        self.skip = stride == 1 and in_chs == out_chs
        self.expand = ConvNorm(in_chs, hidden, **dd)
        self.act = act
        self.spatial = ConvNorm(hidden, hidden, 3, stride, groups=hidden, dilation=dilation, **dd)
        self.project = ConvNorm(hidden, out_chs, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.project(self.act(self.spatial(self.act(self.expand(x)))))
        return x + y if self.skip else y


class FrequencyFilter(nn.Module):
    """Token mixer: a filter that a complex perceptron predicts for each frequency from the spectrum at it.

    y = x + F^-1(M(X) X),  X = F(x)
    M(X) = shrink(w_2 act(w_1 X + b_1) + b_2),  complex, with a weight for each group of channels; act and shrink work
    on real and imaginary part separately, shrink(m) = sign(m) max(|m| - 0.01, 0)

    The filter of a frequency and that of its mirror differ, so the product is not the spectrum of a real map: F^-1 is
    that of `inverse_fourier`.

    Args:
        dim: Channels C.
        groups: Groups G of channels.
        act: Activation.
        backend: How the transforms run, as in `fourier`.

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: arXiv 2307.14008, equations 5 to 7, and
        microsoft/TokenMixers@99dbe38:affnet/modules/aff_block.py:AFNO2D_channelfirst
    """

    def __init__(self, dim: int, groups: int, act: nn.Module, backend: Backend = 'auto', **dd: Any) -> None:
        super().__init__()
        width = dim // groups
        self.backend: Backend = backend
        self.act = act
        self.w1, self.w2 = (nn.Parameter(torch.empty(2, groups, width, width, **dd)) for _ in range(2))
        self.b1, self.b2 = (nn.Parameter(torch.empty(2, groups, width, **dd)) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.layers()
        return _filter(x, first, second, len(self.w1[0]), self.act, self.backend)

    def layers(self) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        """Weight and bias of both layers as grouped convolutions of maps with parts in turn."""
        return _turned(self.w1, self.b1), _turned(self.w2, self.b2)

    def fuse(self) -> 'FusedFilter':
        """The same with its complex weights laid out as real ones once."""
        return FusedFilter(self)


class FusedFilter(nn.Module):
    """Deployed form of `FrequencyFilter`: its complex layers are real grouped convolutions."""

    def __init__(self, mixer: FrequencyFilter) -> None:
        super().__init__()
        require_eval(mixer)
        self.groups, self.act = len(mixer.w1[0]), mixer.act
        self.backend: Backend = mixer.backend
        with torch.no_grad():
            (self.w1, self.b1), (self.w2, self.b2) = (
                (nn.Parameter(weight), nn.Parameter(bias)) for weight, bias in mixer.layers()
            )
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _filter(x, (self.w1, self.b1), (self.w2, self.b2), self.groups, self.act, self.backend)


def _turned(weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A complex linear layer of groups as a real grouped 1 x 1 convolution, on channels whose parts take turns.

    [Re y; Im y] = [[re, -im], [im, re]] [Re x; Im x]

    Args:
        weight: (2, G, in, out), real and imaginary part.
        bias: (2, G, out).

    Returns:
        Weight (2 G out, 2 in, 1, 1) and bias (2 G out).
    """
    re, im = weight
    real = torch.stack([re, -im], 2).flatten(1, 2)  # G in*2 out
    imaginary = torch.stack([im, re], 2).flatten(1, 2)
    both = torch.stack([real, imaginary], 3).flatten(2)  # G in*2 out*2
    return both.mT.flatten(0, 1)[:, :, None, None], bias.flatten(1).mT.flatten()


def _filter(
    x: torch.Tensor,
    first: tuple[torch.Tensor, torch.Tensor],
    second: tuple[torch.Tensor, torch.Tensor],
    groups: int,
    act: nn.Module,
    backend: Backend,
) -> torch.Tensor:
    """The equation of `FrequencyFilter` for given layers; half precision is widened, also under autocast."""
    batch, channels, height, width = x.shape
    with full_precision(x):
        z = fourier(x, backend)  # B C 2H K
        z = free_reshape(z, batch, 2 * channels, height, z.shape[-1])  # B C*2 H K
        (w1, b1), (w2, b2) = ((w.to(z.dtype), b.to(z.dtype)) for w, b in (first, second))
        m = F.conv2d(act(F.conv2d(z, w1, b1, groups=groups)), w2, b2, groups=groups)
        y = inverse_fourier(_product(F.softshrink(m, THRESHOLD), z), width, backend)  # B C H W
    return x + y.to(x.dtype)


def _product(m: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Complex product of maps whose parts take turns: (B, 2 C, H, K) -> (B, C, 2 H, K)."""
    a, b, c, d = m[:, ::2], m[:, 1::2], z[:, ::2], z[:, 1::2]
    return torch.cat([a * c - b * d, a * d + b * c], 2)


class Block(nn.Module):
    """Channel mixer, then token mixer, in one residual branch.

    y = x + drop_path(filter(norm_2(mlp(norm_1(x)))));  mlp is an inverted residual, and has a skip of its own

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: microsoft/TokenMixers@99dbe38:affnet/modules/aff_block.py:Block
    """

    def __init__(
        self, dim: int, mlp: nn.Module, mixer: nn.Module, norm: type[nn.Module], drop_path: float = 0.0, **dd: Any
    ) -> None:
        super().__init__()
        self.norm1 = norm(dim, **dd)
        self.mlp = mlp
        self.norm2 = norm(dim, **dd)
        self.mixer = mixer
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.drop_path(self.mixer(self.norm2(self.mlp(self.norm1(x)))))


class FilterStage(Stage):
    """A stage whose blocks are joined with what enters them.

    y = act(BN(W [d; BN(W_p norm(blocks(d)))])),  d = downsample(x)

    Shape:
        (B, C', H, W) -> (B, C, ceil(H / s), ceil(W / s)), s the stride of what downsamples, 2 or 1

    Source: microsoft/TokenMixers@99dbe38:affnet/modules/aff_block.py:AFFBlock
    """

    def __init__(
        self, dim: int, downsample: nn.Module, blocks: Sequence[nn.Module], norm: nn.Module, act: nn.Module, **dd: Any
    ) -> None:
        super().__init__(downsample, blocks)
        self.norm = norm
        self.proj = ConvNorm(dim, dim, **dd)
        self.fusion = ConvNorm(2 * dim, dim, **dd)
        self.act = act

    def finish(self, x: torch.Tensor, recompute: bool = False) -> torch.Tensor:
        y = self.proj(self.norm(super().finish(x, recompute)))
        return self.act(self.fusion(torch.cat([x, y], 1)))


class AFFNet(StagedBackbone):
    """AFFNet at strides 4, 8, 16 and 32, or with the last ones kept at 8 or 16.

    Args:
        stem_dims: Channels of the stem's convolution and of its inverted residual, both at stride 2.
        dims: Channels of the stages; the first has inverted residuals alone, the others filters.
        depths: Blocks of the stages behind the inverted residual that downsamples.
        expand: Channels between of the inverted residuals that are no channel mixers, as a multiple.
        mlp_ratio: The same for the channel mixers.
        groups: Groups G of channels of the filters.
        activation: 'swish' (SiLU) or 'relu', everywhere. Weights of both fit, so ask what theirs was.
        attn_norm_layer: Norm in front of channel mixer and filter: 'layer_norm_2d' over the whole map, 'layer_norm'
            over the channels of each position. Weights of both fit, likewise.
        backend: How the Fourier transforms run: 'fft', 'matmul', or 'auto', which chooses by size.
        output_stride: Stride that the last maps have at most, 32, 16 or 8, as published for segmentation. A stage that
            would go beyond it keeps the size, and the 3 x 3 filter of the stage behind it is dilated by two.
        img_size: Side or (height, width) in pixels; no weight depends on it, any other size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth at the last block with a filter, growing linearly from 0 (0 as
            published).

    Raises:
        ValueError: Numbers of stages differ, a count is less than 1, channels cannot be cut into groups, or an
            activation, a norm, a backend or an output stride does not exist.

    Source: microsoft/TokenMixers@99dbe38:affnet/models/classification/affnet.py:AffNet
    """

    def __init__(
        self,
        stem_dims: Sequence[int] = (16, 32),
        dims: Sequence[int] = (48, 64, 104, 144),
        depths: Sequence[int] = (2, 2, 4, 3),
        expand: float = 2.0,
        mlp_ratio: float = 2.0,
        groups: int = 8,
        activation: str = 'swish',
        attn_norm_layer: str = 'layer_norm_2d',
        backend: Backend = 'auto',
        output_stride: int = 32,
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
            num_classes=num_classes, in_chans=in_chans, global_pool=global_pool, drop_rate=drop_rate, img_size=img_size
        )
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        _check(stem_dims, dims, depths, groups)
        check_backend(backend)
        if output_stride not in STRIDES:
            raise ValueError(f'output_stride must be one of {", ".join(map(str, STRIDES))}, but got {output_stride!r}.')
        act = _choice('activation', activation, ACTIVATIONS)()
        norm = _choice('attn_norm_layer', attn_norm_layer, NORMS)
        first, last = stem_dims
        self.stem = nn.Sequential(
            ConvNorm(in_chans, first, 3, 2, **dd), act, InvertedResidual(first, last, 1, expand, act, **dd)
        )
        rates: Any = iter(calculate_drop_path_rates(drop_path_rate, sum(depths[1:])))
        stages: list[Stage] = []
        reduction, dilation = 2, 1
        for i, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            stride = 2 if reduction < output_stride else 1
            down = InvertedResidual(dims[i - 1] if i else last, dim, stride, expand, act, dilation, **dd)
            reduction, dilation = reduction * stride, dilation * 2 // stride
            if not i:
                stages.append(Stage(down, [InvertedResidual(dim, dim, 1, expand, act, **dd) for _ in range(depth)]))
            else:
                blocks = []
                for _ in range(depth):
                    mlp = InvertedResidual(dim, dim, 1, mlp_ratio, act, **dd)
                    mixer = FrequencyFilter(dim, groups, act, backend, **dd)
                    blocks.append(Block(dim, mlp, mixer, norm, next(rates), **dd))
                stages.append(FilterStage(dim, down, blocks, norm(dim, **dd), act, **dd))
            self.feature_info.append({'num_chs': dim, 'reduction': reduction, 'module': f'stages.{i}'})
        self.stages = nn.Sequential(*stages)
        width = min(4 * dims[-1], WIDEST)
        self.norm = nn.Sequential(ConvNorm(dims[-1], width, **dd), act)
        self._finish(width, **dd)

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Convolutions normal after He over their outputs, filters and classifier normal, other biases zero."""
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode='fan_out')
        elif isinstance(module, FrequencyFilter):
            for parameter in (module.w1, module.b1, module.w2, module.b2):
                nn.init.normal_(parameter, std=0.02)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)


def _check(stem_dims: Sequence[int], dims: Sequence[int], depths: Sequence[int], groups: int) -> None:
    if len(stem_dims) != 2 or not dims or len(dims) != len(depths) or min(*stem_dims, *dims, *depths, groups) < 1:
        raise ValueError(
            'AFFNet needs two widths of its stem, a width and a depth for each stage, and all of them and groups at '
            f'least 1, but got stem_dims={tuple(stem_dims)}, dims={tuple(dims)}, depths={tuple(depths)} and '
            f'groups={groups}.'
        )
    for dim in dims[1:]:
        if dim % groups:
            raise ValueError(
                f'The channels of every stage with filters must be a multiple of groups={groups}, but got {dim}: give '
                f'{dim + -dim % groups}, or other groups.'
            )


def _choice(name: str, value: str, table: Mapping[str, type[nn.Module]]) -> type[nn.Module]:
    if value not in table:
        raise ValueError(f'{name} must be one of {", ".join(map(repr, table))}, but got {value!r}.')
    return table[value]


def _residual(old: str, new: str) -> dict[str, str | None]:
    """Rows of an inverted residual."""
    return {
        f'{old}.block.{was}.block.{{n}}.{{p}}': f'{new}.{now}.{{n}}.{{p}}'
        for was, now in (('exp_1x1', 'expand'), ('conv_3x3', 'spatial'), ('red_1x1', 'project'))
    }


_BLOCK = 'layer_{s}.1.global_rep.{b}', 'stages.{s-2}.blocks.{b}'

KEYS: dict[str, str | None] = {
    'conv_1.block.{n}.{p}': 'stem.0.{n}.{p}',
    **_residual('layer_1.0', 'stem.2'),
    # the first inverted residual of a layer downsamples; only layer 2 has more of them
    **_residual('layer_{s}.0', 'stages.{s-2}.downsample'),
    **_residual('layer_2.{b}', 'stages.0.blocks.{b-1}'),
    **_residual(f'{_BLOCK[0]}.mlp', f'{_BLOCK[1]}.mlp'),
    f'{_BLOCK[0]}.filter.{{p}}': f'{_BLOCK[1]}.mixer.{{p}}',
    f'{_BLOCK[0]}.norm1.{{p}}': f'{_BLOCK[1]}.norm1.{{p}}',
    f'{_BLOCK[0]}.norm2.{{p}}': f'{_BLOCK[1]}.norm2.{{p}}',
    # the norm behind the blocks counts as one of them
    'layer_{s}.1.global_rep.{b}.{p}': 'stages.{s-2}.norm.{p}',
    'layer_{s}.1.conv_proj.block.{n}.{p}': 'stages.{s-2}.proj.{n}.{p}',
    'layer_{s}.1.fusion.block.{n}.{p}': 'stages.{s-2}.fusion.{n}.{p}',
    'conv_1x1_exp.block.{n}.{p}': 'norm.0.{n}.{p}',
    'classifier.fc.{p}': 'head.{p}',
}


def checkpoint_filter_fn(checkpoint: Mapping, model: AFFNet) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes.

    Of a published segmentor the part called `encoder` is taken, which a model without classifier holds.
    """
    state = unwrap(checkpoint, model.published)
    encoder = {key.removeprefix('encoder.'): value for key, value in state.items() if key.startswith('encoder.')}
    state = encoder or state
    if not is_ours(model, state):
        state = rename(state, KEYS)
    return check_fit(model, state, adapt=('head', 'stem.0.conv'))


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        'num_classes': 1000,
        'input_size': (3, 256, 256),
        'pool_size': (8, 8),
        'crop_pct': 0.9,
        'interpolation': 'bicubic',
        'mean': (0.0, 0.0, 0.0),  # the published code scales pictures to [0, 1] and no further
        'std': (1.0, 1.0, 1.0),
        'first_conv': 'stem.0.conv',
        'classifier': 'head',
        'license': 'mit',
        'origin_url': 'https://github.com/microsoft/TokenMixers',
        'paper_name': 'Adaptive Frequency Filters As Efficient Global Token Mixers',
        'paper_ids': 'arXiv:2307.14008',
        **kwargs,
    }


# The weights lie in shared folders of OneDrive, which have no address for a file.
default_cfgs = generate_default_cfgs(
    {
        'affnet_et.ms_in1k': _cfg(),
        'affnet_t.ms_in1k': _cfg(),
        'affnet.ms_in1k': _cfg(),
    }
)


def _affnet(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(AFFNet, variant, pretrained, checkpoint_filter_fn, **kwargs)


@register_model
def affnet_et(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """AFFNet-ET, 1.4 M parameters, 0.4 G MACs at 256 x 256."""
    args = {'stem_dims': (16, 32), 'dims': (48, 64, 104, 144), 'depths': (2, 2, 4, 3), 'expand': 2.0}
    return _affnet('affnet_et', pretrained, **{**args, **kwargs})


@register_model
def affnet_t(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """AFFNet-T, 2.7 M parameters, 0.8 G MACs at 256 x 256."""
    args = {'stem_dims': (16, 32), 'dims': (48, 96, 160, 192), 'depths': (2, 2, 4, 3), 'expand': 4.0}
    return _affnet('affnet_t', pretrained, **{**args, **kwargs})


@register_model
def affnet(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """AFFNet, 5.6 M parameters, 1.5 G MACs at 256 x 256."""
    args = {'stem_dims': (16, 32), 'dims': (64, 128, 256, 320), 'depths': (2, 2, 4, 3), 'expand': 4.0}
    return _affnet('affnet', pretrained, **{**args, **kwargs})
