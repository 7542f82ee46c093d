"""FMViT, a reconstruction: convolutions on some channels and attention with averaged keys on the others mix high with
low frequencies, and every 1 x 1 convolution is trained as several with different groups and deployed as one.

Paper: FMViT: A multiple-frequency mixing Vision Transformer, arXiv 2311.05707. Of its text the abstract alone could be
    read. Its numbers: 83.3 % ImageNet top-1 at about the TensorRT latency of ResNet-101 (80.8 %), the accuracy of
    EfficientNet-B5 43 % faster, and 78.5 % at about the CoreML latency of a MobileOne of 75.9 %. The names of the parts
    are its own: gMLP, RLMHSA, CFB.
Code: none; tany0699/FMViT@40b6bbf is a title and the Apache-2.0 licence.
Differs: Everything that the abstract does not say is ours: what the parts compute, widths, depths, ratios, groups. The
    frame is that of Next-ViT (arXiv 2207.05501), whose goals and wording the paper shares. Widths and depths are chosen
    so that the fused models have the parameters and multiply-adds that the paper gives its five variants, as the
    collection igm503/Heedless-Backbones@e67cc36 (family_data/FMViT.yml) quotes them: T 2.0 M and 0.3 G, S 6.4 and 0.8,
    M 12.8 and 2.0, B 24.3 and 4.2, L 35.3 and 7.1. No weights exist, and no accuracy is claimed for these models: the
    paper's are those of its own.

Shapes: B batch, C channels, H and W height and width of the map, N = H W positions, M averaged positions, D channels of
    a head.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath, calculate_drop_path_rates, trunc_normal_
from timm.models import generate_default_cfgs, register_model
from torch import nn

from ..base import Stage, StagedBackbone
from ..build import create
from ..keys import check_fit, is_ours, unwrap
from ..layers import BatchNorm2d, ConvNorm, MultiGroupConv, average_pool, require_eval
from ..layers.conv_norm import batch_norm_affine

__all__ = ['FMViT']

HEAD = 32  # channels D of a head (Next-ViT)
LOW = 0.75  # part of the channels that attention takes (Next-ViT)


class ConvMixer(nn.Sequential):
    """Token mixer by convolution, for the high frequencies.

    y = BN(W_1 relu(BN(DW_3(x))))

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: inferred; Next-ViT, arXiv 2207.05501, section 3.2, with depthwise kernels, which come nearest the
        published multiply-adds of most variants.
    """

    def __init__(self, dim: int, **dd: Any) -> None:
        super().__init__()
        self.spatial = ConvNorm(dim, dim, 3, groups=dim, **dd)
        self.act = nn.ReLU()
        self.point = ConvNorm(dim, dim, **dd)


class GroupMlp(nn.Sequential):
    """Channel mixer gMLP, with convolutions of several groups: y = G_2 relu(G_1 x). It has nothing of a gate.

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: inferred; its name and "multi-group re-parameterisation" are the abstract's.
    """

    def __init__(self, dim: int, ratio: float, groups: Sequence[int], **dd: Any) -> None:
        super().__init__()
        hidden = int(dim * ratio)
        self.expand = MultiGroupConv(dim, hidden, groups, **dd)
        self.act = nn.ReLU()
        self.project = MultiGroupConv(hidden, dim, groups, **dd)


class Attention(nn.Module):
    """Token mixer RLMHSA, for the low frequencies: all positions ask averages over squares of S x S positions.

    y = G_o(v softmax(q^T k D^-1/2)^T),  q = G_q z,  k = G_k pool_S(z),  v = G_v pool_S(z),  z = BN(x)

    Squares at the right and the bottom border average what they have of the map, so that the normalisation may change
    places with the average.

    Args:
        dim: Channels C, a multiple of `HEAD`.
        reduction: Side S of the squares in positions.
        groups: Numbers of groups of the branches of each projection.

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: inferred; Next-ViT, arXiv 2207.05501, equations 4 and 5, with squares of the map in place of runs of tokens.
    """

    def __init__(self, dim: int, reduction: int, groups: Sequence[int], **dd: Any) -> None:
        super().__init__()
        self.reduction = reduction
        self.norm = nn.BatchNorm2d(dim, **dd)
        self.q, self.k, self.v = (MultiGroupConv(dim, dim, groups, **dd) for _ in range(3))
        self.proj = MultiGroupConv(dim, dim, groups, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        averages = average_pool(x, self.reduction)
        return self.proj(_attend(self.q(x), self.k(averages), self.v(averages)))

    def fuse(self) -> 'FusedAttention':
        """The same with one convolution for all that is made of one map, and the norm inside of them."""
        return FusedAttention(self)


class FusedAttention(nn.Module):
    """Deployed form of `Attention`: y = W_o v softmax(q^T k)^T, biases apart, with k and v of averages of x itself."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        require_eval(attention)
        self.reduction = attention.reduction
        convs = [_behind(attention.norm, conv.fuse()) for conv in (attention.q, attention.k, attention.v)]
        with torch.no_grad():
            for value in (convs[0].weight, convs[0].bias):
                value *= HEAD**-0.5
        self.q = nn.Identity() if self.reduction == 1 else convs.pop(0)
        self.kv = _stacked(convs)  # where nothing is averaged, the queries are with them
        self.proj = attention.proj.fuse()
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.reduction == 1:
            q, k, v = self.kv(x).chunk(3, dim=1)
        else:
            q = self.q(x)
            k, v = self.kv(average_pool(x, self.reduction)).chunk(2, dim=1)
        return self.proj(_attend(q, k, v, scale=1.0))


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float = HEAD**-0.5) -> torch.Tensor:
    """v softmax(scale q^T k)^T for each head: queries (B, C, H, W), keys and values (B, C, h, w) -> (B, C, H, W)."""
    height, width = q.shape[2:]
    q, k, v = (t.flatten(2).unflatten(1, (-1, HEAD)) for t in (q, k, v))  # B heads D N, twice B heads D M
    if torch.compiler.is_exporting():
        y = v @ (q.mT @ k * scale).softmax(dim=-1).mT  # B heads D N
    else:  # never holds all pairs of positions
        q, k, v = (t.mT.contiguous() for t in (q, k, v))  # B heads N D, twice B heads M D
        y = F.scaled_dot_product_attention(q, k, v, scale=scale).mT
    return y.flatten(1, 2).unflatten(2, (height, width))


@torch.no_grad()
def _behind(norm: nn.BatchNorm2d, conv: nn.Conv2d) -> nn.Conv2d:
    """The 1 x 1 convolution with the normalisation in front of it inside: W (s x + t) + b = (W s) x + (W t + b)."""
    scale, shift = batch_norm_affine(norm)
    weight, bias = conv.weight.double().flatten(1), conv.bias.double()  # type: ignore[union-attr]
    return _conv(weight * scale, weight @ shift + bias, conv.weight)


@torch.no_grad()
def _stacked(convs: Sequence[nn.Conv2d]) -> nn.Conv2d:
    """One 1 x 1 convolution with the outputs of all, one after the other."""
    bias = torch.cat([conv.bias for conv in convs])  # type: ignore[arg-type]
    return _conv(torch.cat([conv.weight.flatten(1) for conv in convs]), bias, convs[0].weight)


def _conv(weight: torch.Tensor, bias: torch.Tensor, like: torch.Tensor) -> nn.Conv2d:
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, device=like.device, dtype=like.dtype).eval()
    conv.weight.copy_(weight[:, :, None, None])
    conv.bias.copy_(bias)  # type: ignore[union-attr]
    return conv


class FusionBlock(nn.Module):
    """Convolutional fusion block, CFB.

    z = x + drop_path(ConvMixer(x));  y = z + drop_path(gMLP(z))

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: inferred; Next-ViT, arXiv 2207.05501, equation 1.
    """

    def __init__(self, dim: int, mlp_ratio: float, groups: Sequence[int], drop_path: float = 0.0, **dd: Any) -> None:
        super().__init__()
        self.mixer = ConvMixer(dim, **dd)
        self.mlp = GroupMlp(dim, mlp_ratio, groups, **dd)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.drop_path(self.mixer(x))
        return x + self.drop_path(self.mlp(x))


class FrequencyBlock(nn.Module):
    """Block of mixed frequencies, FMB: attention on the first channels, then convolution on the rest, which sees them.

    l = x_l + drop_path(Attention(x_l));  z = x_h + BN(W l);  h = z + drop_path(ConvMixer(z))
    y = [l, h] + drop_path(gMLP([l, h]))

    Args:
        dim: Channels C.
        reduction: Side in positions of the squares that keys and values are averages of.
        mlp_ratio: Hidden width of the channel mixer, as a multiple of C.
        groups: Numbers of groups of the branches.
        drop_path: Rate of stochastic depth.

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: inferred; Next-ViT, arXiv 2207.05501, equation 6, on channels that are split instead of projected.
    """

    def __init__(
        self, dim: int, reduction: int, mlp_ratio: float, groups: Sequence[int], drop_path: float = 0.0, **dd: Any
    ) -> None:
        super().__init__()
        low = low_width(dim)
        self.widths = (low, dim - low)
        self.attention = Attention(low, reduction, groups, **dd)
        self.inform = ConvNorm(low, dim - low, **dd)
        self.mixer = ConvMixer(dim - low, **dd)
        self.mlp = GroupMlp(dim, mlp_ratio, groups, **dd)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low, high = x.split(self.widths, dim=1)
        low = low + self.drop_path(self.attention(low))
        high = high + self.inform(low)
        high = high + self.drop_path(self.mixer(high))
        x = torch.cat([low, high], dim=1)
        return x + self.drop_path(self.mlp(x))


def low_width(dim: int) -> int:
    """Channels that attention takes of `dim`: whole heads, as near to `LOW` of them as leaves some to convolution."""
    return max(1, min(round(LOW * dim / HEAD), (dim - 1) // HEAD)) * HEAD


class Downsample(nn.Module):
    """y = BN(W pool_2(x)); averages at the border are over what lies on the map.

    Shape:
        (B, in_chs, H, W) -> (B, out_chs, ceil(H / 2), ceil(W / 2))

    Source: inferred; Next-ViT, arXiv 2207.05501, section 3.4.
    """

    def __init__(self, in_chs: int, out_chs: int, **dd: Any) -> None:
        super().__init__()
        self.conv = ConvNorm(in_chs, out_chs, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(average_pool(x, 2))


class FMViT(StagedBackbone):
    """FMViT, reconstructed, at strides 4, 8, 16 and 32.

    Args:
        dims: Channels of the stages.
        depths: Blocks of the stages.
        stem_dims: Channels of the first three convolutions of the stem; the fourth has those of the third.
        every: For each stage the n of "every n-th block is one of mixed frequencies"; 0 for none.
        reductions: Sides in positions of the squares that keys and values are averages of, for each stage.
        mlp_ratios: Hidden widths of the channel mixers as multiples of their channels, in fusion blocks and in blocks
            of mixed frequencies.
        groups: Numbers of groups of the branches that 1 x 1 convolutions are trained as.
        img_size: Side or (height, width) in pixels; no weight depends on it, any other size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth at the last block, growing linearly from 0.

    Raises:
        ValueError: Settings for different numbers of stages, a count that is too small, a block of mixed frequencies
            with no room for a head, or groups that do not divide the channels.

    Source: inferred; Next-ViT, arXiv 2207.05501, table 3, for all but widths and depths.
    """

    def __init__(
        self,
        dims: Sequence[int] = (96, 192, 384, 768),
        depths: Sequence[int] = (3, 2, 10, 3),
        stem_dims: Sequence[int] = (64, 32, 64),
        every: Sequence[int] = (0, 2, 5, 3),
        reductions: Sequence[int] = (8, 4, 2, 1),
        mlp_ratios: Sequence[float] = (3.0, 2.0),
        groups: Sequence[int] = (1, 2, 4),
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
        )
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        _check(dims, depths, stem_dims, every, reductions, mlp_ratios)
        self.stem = _stem(in_chans, stem_dims, **dd)
        rates: Any = iter(calculate_drop_path_rates(drop_path_rate, sum(depths)))
        stages: list[Stage] = []
        before = stem_dims[-1]
        for i, (dim, depth, step, reduction) in enumerate(zip(dims, depths, every, reductions, strict=True)):
            blocks: list[nn.Module] = []
            for block in range(1, depth + 1):
                if step and block % step == 0:
                    blocks.append(FrequencyBlock(dim, reduction, mlp_ratios[1], groups, next(rates), **dd))
                else:
                    blocks.append(FusionBlock(dim, mlp_ratios[0], groups, next(rates), **dd))
            widen = nn.Identity() if before == dim else ConvNorm(before, dim, **dd)
            stages.append(Stage(Downsample(before, dim, **dd) if i else widen, blocks))
            self.feature_info.append({'num_chs': dim, 'reduction': 4 * 2**i, 'module': f'stages.{i}'})
            before = dim
        self.stages = nn.Sequential(*stages)
        self.norm = BatchNorm2d(before, **dd)
        self._finish(**dd)

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Next-ViT's: convolutions and linear maps normal with standard deviation 0.02, cut at two; biases zero.

        What follows each convolution has variance one: `MultiGroupConv` sees to its own norms.
        """
        if isinstance(module, nn.Conv2d | nn.Linear):
            trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _stem(in_chans: int, dims: Sequence[int], **dd: Any) -> nn.Sequential:
    """Four 3 x 3 convolutions with strides of 2, 1, 1 and 2 pixels: (B, in_chans, H, W) -> (B, C, H / 4, W / 4)."""
    first, second, third = dims
    layers: list[nn.Module] = []
    for before, dim, stride in ((in_chans, first, 2), (first, second, 1), (second, third, 1), (third, third, 2)):
        layers += [ConvNorm(before, dim, 3, stride, **dd), nn.ReLU()]
    return nn.Sequential(*layers)


def _check(
    dims: Sequence[int],
    depths: Sequence[int],
    stem_dims: Sequence[int],
    every: Sequence[int],
    reductions: Sequence[int],
    mlp_ratios: Sequence[float],
) -> None:
    settings = (dims, depths, every, reductions)
    if not dims or len({len(values) for values in settings}) > 1 or len(stem_dims) != 3 or len(mlp_ratios) != 2:
        raise ValueError(
            'FMViT needs one width, depth, step and reduction for each stage, three stem_dims and two mlp_ratios, but '
            f'got {len(dims)} dims, {len(depths)} depths, {len(every)} every, {len(reductions)} reductions, '
            f'{len(stem_dims)} stem_dims and {len(mlp_ratios)} mlp_ratios.'
        )
    if min(*dims, *depths, *stem_dims, *reductions) < 1 or min(every) < 0 or min(mlp_ratios) <= 0:
        raise ValueError(
            'FMViT needs widths, depths and reductions of at least 1, steps of at least 0 and ratios above 0, but got '
            f'dims={tuple(dims)}, depths={tuple(depths)}, stem_dims={tuple(stem_dims)}, every={tuple(every)}, '
            f'reductions={tuple(reductions)} and mlp_ratios={tuple(mlp_ratios)}.'
        )
    for dim, depth, step in zip(dims, depths, every, strict=True):
        if 0 < step <= depth and dim <= HEAD:
            raise ValueError(
                f'A stage with blocks of mixed frequencies must be wider than a head of {HEAD} channels, but has '
                f'{dim}: give it more, or 0 in `every`.'
            )


def checkpoint_filter_fn(checkpoint: Mapping, model: FMViT) -> dict[str, torch.Tensor]:
    """Weights that this project trained, for `model`, whose classifier and first convolution may have other shapes.

    Raises:
        ValueError: The keys are not those of this project: nothing was published that could be converted.
    """
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        raise ValueError(
            'FMViT has no published weights, so a checkpoint for it must have the keys of this project, but got '
            f'{len(state)} keys such as {next(iter(state), "none")!r}. Is it a checkpoint of another model?'
        )
    return check_fit(model, state, adapt=('head', 'stem.0.conv'))


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        'url': '',
        'num_classes': 1000,
        'input_size': (3, 224, 224),
        'pool_size': (7, 7),
        'crop_pct': 0.875,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.0.conv',
        'classifier': 'head',
        'license': 'apache-2.0',
        'origin_url': 'https://github.com/tany0699/FMViT',
        'paper_name': 'FMViT: A multiple-frequency mixing Vision Transformer',
        'paper_ids': 'arXiv:2311.05707',
        **kwargs,
    }


default_cfgs = generate_default_cfgs({f'fmvit_{size}.untrained': _cfg() for size in 'tsmbl'})


def _fmvit(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(FMViT, variant, pretrained, checkpoint_filter_fn, **kwargs)


@register_model
def fmvit_t(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """FMViT-T, reconstructed, 3.1 M parameters (2.0 M fused), 0.3 G MACs at 224 x 224."""
    numbers = {'dims': (16, 64, 128, 256), 'depths': (2, 3, 6, 2), 'stem_dims': (16, 8, 16), 'every': (0, 3, 3, 2)}
    return _fmvit('fmvit_t', pretrained, **{**numbers, **kwargs})


@register_model
def fmvit_s(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """FMViT-S, reconstructed, 10.2 M parameters (6.3 M fused), 0.8 G MACs at 224 x 224."""
    numbers = {'dims': (24, 96, 192, 384), 'depths': (2, 4, 6, 4), 'stem_dims': (24, 12, 24), 'every': (0, 4, 3, 4)}
    return _fmvit('fmvit_s', pretrained, **{**numbers, **kwargs})


@register_model
def fmvit_m(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """FMViT-M, reconstructed, 21.0 M parameters (12.9 M fused), 2.0 G MACs at 224 x 224."""
    numbers = {'dims': (48, 128, 256, 512), 'depths': (2, 3, 10, 4), 'stem_dims': (48, 24, 48), 'every': (0, 3, 5, 4)}
    return _fmvit('fmvit_m', pretrained, **{**numbers, **kwargs})


@register_model
def fmvit_b(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """FMViT-B, reconstructed, 39.7 M parameters (24.3 M fused), 4.2 G MACs at 224 x 224."""
    numbers = {'dims': (96, 192, 384, 768), 'depths': (3, 2, 10, 3), 'every': (0, 2, 5, 3)}
    return _fmvit('fmvit_b', pretrained, **{**numbers, **kwargs})


@register_model
def fmvit_l(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """FMViT-L, reconstructed, 58.1 M parameters (35.4 M fused), 7.0 G MACs at 224 x 224."""
    numbers = {'dims': (96, 192, 384, 768), 'depths': (4, 5, 20, 3), 'every': (0, 5, 5, 3)}
    return _fmvit('fmvit_l', pretrained, **{**numbers, **kwargs})
