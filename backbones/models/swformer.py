"""SWformer: a spiking network without attention, whose mixers weigh channels in the Haar spectrum of the map, beside
two convolutions of the map itself; shortcuts carry membranes.

Paper: Spiking Wavelet Transformer, arXiv 2403.11138.
Code: bic-L/Spiking-Wavelet-Transformer@da8c644 and Fancyssc/STEP@c0b3193, neither with a licence.
Differs: Spikes of the spectrum are -1, 0 and 1 in the original, 0 and 1 in STEP; the last map of the stem fires behind
    its pooling in the original, before it in STEP; the original's ImageNet form has a neuron in front of the
    classifier. Each set of weights needs its form. The code takes square maps whose side is a power of two, and keeps
    the side of the first image for ever; here any map works, by the unbalanced Haar basis of `layers/haar.py`, which is
    Haar's own where the code runs. An image is the same at every step, so that the first convolution runs once and its
    map is repeated; its running variances then follow B images in place of T B, which differs by the unbiased factor
    alone. The ImageNet configs name a rate of stochastic depth, which the code does not use.

Shapes: B batch, T time steps, C channels, H and W height and width of the map, G groups of channels.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath, calculate_drop_path_rates, trunc_normal_
from timm.models import generate_default_cfgs, register_model
from torch import nn

from ..base import Stage, StagedBackbone
from ..build import create
from ..keys import check_fit, is_ours, rename, unwrap
from ..layers import (
    LIF,
    BatchNorm2d,
    ConvNorm,
    Neuron,
    Repeat,
    SpikingConv,
    SpikingMlp,
    TernaryIF,
    free_reshape,
    full_precision,
    fuse_conv_norm,
    haar_matrix,
    require_eval,
    widened,
)

__all__ = ['SWFormer']


class HaarMixer(nn.Module):
    """Token mixer: channels weighed at every frequency, and two convolutions that all groups of channels share.

    s = neuron(x);  f = neuron(BN(H_h n(s H_w^T)));  g = BN(W f), W (G, C / G, C / G)
    y = BN(H_h^T n(n(g) H_w)) + BN(K_1 s) + BN(K_3 s),  K_1 and K_3 of C / G channels, 1 x 1 and 3 x 3

    H are the Haar matrices of both sides, n neurons of the spectrum.

    Args:
        dim: Channels C.
        groups: Groups G.
        neuron: Makes a neuron.
        haar_neuron: Makes a neuron of the spectrum.

    Shape:
        (T * B, C, H, W) -> (T * B, C, H, W)

    Source: bic-L/Spiking-Wavelet-Transformer@da8c644:cifar10-100/model.py:FATM
    """

    def __init__(
        self, dim: int, groups: int, neuron: Callable[..., Neuron], haar_neuron: Callable[..., Neuron], **dd: Any
    ) -> None:
        super().__init__()
        self.groups = groups
        self.neuron, self.weigh_neuron = neuron(), neuron()
        self.forward_neuron, self.row_neuron, self.column_neuron = haar_neuron(), haar_neuron(), haar_neuron()
        self.forward_norm, self.inverse_norm = BatchNorm2d(dim, **dd), BatchNorm2d(dim, **dd)
        self.weigh = ConvNorm(dim, dim, groups=groups, **dd)
        self.conv1, self.norm1 = nn.Conv2d(dim // groups, dim // groups, 1, **dd), nn.BatchNorm2d(dim, **dd)
        self.conv2, self.norm2 = nn.Conv2d(dim // groups, dim // groups, 3, padding=1, **dd), nn.BatchNorm2d(dim, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.neuron(x)
        y = self.inverse_norm(_spectral(self, s))
        height, width = s.shape[2:]
        parts = free_reshape(s, s.shape[0] * self.groups, s.shape[1] // self.groups, height, width)
        near, wide = (free_reshape(conv(parts), *s.shape) for conv in (self.conv1, self.conv2))
        return (y + self.norm1(near) + self.norm2(wide)).to(x.dtype)

    def fuse(self) -> 'FusedMixer':
        """The same with one convolution in place of two, all norms but that of the frequencies inside."""
        return FusedMixer(self)


class FusedMixer(nn.Module):
    """Deployed form of `HaarMixer`: y = scale H_h^T n(n(W f) H_w) + K s, with a K of 3 x 3 for each group."""

    def __init__(self, mixer: HaarMixer) -> None:
        super().__init__()
        require_eval(mixer)
        self.neuron, self.weigh_neuron = mixer.neuron, mixer.weigh_neuron
        self.forward_neuron, self.row_neuron = mixer.forward_neuron, mixer.row_neuron
        self.column_neuron = mixer.column_neuron
        self.forward_norm, self.weigh = mixer.forward_norm.fuse(), mixer.weigh.fuse()
        inverse = mixer.inverse_norm.fuse()
        self.scale = nn.Parameter(inverse.weight.detach()[:, None, None])
        with torch.no_grad():
            convs = (mixer.conv1, mixer.norm1), (mixer.conv2, mixer.norm2)
            near, wide = (fuse_conv_norm(_spread(conv, mixer.groups), norm) for conv, norm in convs)
            assert near.bias is not None and wide.bias is not None
            wide.weight[:, :, 1:2, 1:2] += near.weight
            wide.bias += near.bias + inverse.bias
        self.conv = wide
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.neuron(x)
        return (_spectral(self, s) * self.scale + self.conv(s)).to(x.dtype)


def _spread(conv: nn.Conv2d, groups: int) -> nn.Conv2d:
    """A convolution that all groups share, as a grouped one."""
    assert conv.bias is not None
    like: Any = {'device': conv.weight.device, 'dtype': conv.weight.dtype}
    width, side = groups * conv.in_channels, conv.kernel_size[0]
    spread = nn.Conv2d(width, width, side, padding=side // 2, groups=groups, **like).eval()
    spread.weight.copy_(conv.weight.repeat(groups, 1, 1, 1))
    assert spread.bias is not None
    spread.bias.copy_(conv.bias.repeat(groups))
    return spread


def _spectral(mixer: Any, s: torch.Tensor) -> torch.Tensor:
    """Spikes through the spectrum and back, up to the last norm; the transforms in full precision."""
    with full_precision(s):
        x = widened(s)
        tall, wide = (haar_matrix(side, x) for side in s.shape[2:])
        f = (tall @ mixer.forward_neuron(x @ wide.mT)).to(s.dtype)
    g = mixer.weigh(mixer.weigh_neuron(mixer.forward_norm(f)))
    with full_precision(s):
        return (tall.mT @ mixer.column_neuron(mixer.row_neuron(widened(g)) @ wide)).to(s.dtype)


class Block(nn.Module):
    """Token mixer and channel mixer.

    x = x + drop_path(HaarMixer(x));  y = x + drop_path(MLP(x))

    Shape:
        (T * B, C, H, W) -> (T * B, C, H, W)

    Source: bic-L/Spiking-Wavelet-Transformer@da8c644:cifar10-100/model.py:Block
    """

    def __init__(self, mixer: HaarMixer, mlp: SpikingMlp, drop_path: float = 0.0) -> None:
        super().__init__()
        self.mixer, self.mlp = mixer, mlp
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.drop_path(self.mixer(x))
        return x + self.drop_path(self.mlp(x))


class Position(nn.Module):
    """Position as zeros around the map tell it: y = x + BN(W neuron(x)), W of 3 x 3.

    Args:
        dim: Channels C.
        neuron: The neuron; an identity where x are spikes.
    """

    def __init__(self, dim: int, neuron: nn.Module, **dd: Any) -> None:
        super().__init__()
        self.neuron, self.conv_norm = neuron, ConvNorm(dim, dim, 3, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv_norm(self.neuron(x))


class SWFormer(StagedBackbone):
    """Spiking Wavelet Transformer; the stem makes two levels, its last map and all blocks the third.

    Args:
        embed_dim: Channels C; the four convolutions of the stem have C / 8, C / 4, C / 2 and C.
        depth: Blocks.
        groups: Groups of channels in the token mixers.
        mlp_ratio: Hidden width of the channel mixers, as a multiple of their channels.
        pools: Whether the resolution is halved behind each convolution of the stem.
        signed: Whether neurons of the spectrum fire -1 too and do not leak (original), or are like all others (STEP).
        stem_spikes: Whether the last map of the stem fires in front of its pooling (STEP), or behind it (original).
        head_neuron: Whether a neuron stands in front of the classifier (original on ImageNet).
        num_steps: Time steps T.
        img_size: Side or (height, width) in pixels; no weight depends on it, any other size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth at the last block, growing linearly from 0 (published: 0).

    Raises:
        ValueError: A number cannot be.

    Source: bic-L/Spiking-Wavelet-Transformer@da8c644:imagenet/model/spikingwavelet.py:SpikingWaveletTransformer
    """

    def __init__(
        self,
        embed_dim: int = 512,
        depth: int = 8,
        groups: int = 2,
        mlp_ratio: float = 4.0,
        pools: Sequence[bool] = (True, True, True, True),
        signed: bool = True,
        stem_spikes: bool = False,
        head_neuron: bool = True,
        num_steps: int = 4,
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
            num_steps=num_steps,
            stem_taps=(1, 2),
        )
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        _check(embed_dim, depth, groups, mlp_ratio, pools)
        neuron: Any = partial(LIF, num_steps)
        haar_neuron: Any = partial(TernaryIF, num_steps) if signed else neuron
        widths = [embed_dim // 8, embed_dim // 4, embed_dim // 2, embed_dim]
        layers: list[nn.Module] = []
        for i, (before, width, pool) in enumerate(zip([in_chans, *widths], widths, pools, strict=False)):
            fires: Any = neuron if stem_spikes or i < 3 else nn.Identity
            repeat = None if i else Repeat(num_steps)
            layers.append(SpikingConv(before, width, fires, pool='spikes' if pool else None, repeat=repeat, **dd))
            level = {'num_chs': width, 'reduction': 2 ** sum(pools[: i + 1]), 'module': f'stem.{i}'}
            self.feature_info += [level] if i in self.stem_taps else []
        self.feature_info.append({'num_chs': embed_dim, 'reduction': 2 ** sum(pools), 'module': 'stages.0'})
        self.stem = nn.Sequential(*layers, Position(embed_dim, nn.Identity() if stem_spikes else neuron(), **dd))
        rates: Any = calculate_drop_path_rates(drop_path_rate, depth)
        blocks = [
            Block(
                HaarMixer(embed_dim, groups, neuron, haar_neuron, **dd),
                SpikingMlp(embed_dim, int(mlp_ratio * embed_dim), neuron, first=True, **dd),
                rate,
            )
            for rate in rates
        ]
        self.stages = nn.Sequential(Stage(nn.Identity(), blocks))
        self.head_steps = head_neuron
        self.head_neuron = neuron() if head_neuron else nn.Identity()
        self._finish(**dd)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """The image as it is, since the stem repeats what its first convolution makes of it."""
        return x

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Normal, 0.02: weights of the spectrum; cut at two, on ImageNet convolutions, on CIFAR the classifier."""
        if name.endswith('mixer.weigh.conv'):
            assert isinstance(module, nn.Conv2d)
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.Conv2d if self.head_steps else nn.Linear):
            trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _check(embed_dim: int, depth: int, groups: int, mlp_ratio: float, pools: Sequence[bool]) -> None:
    if min(depth, groups) < 1 or mlp_ratio <= 0 or embed_dim < 8 or embed_dim % 8 or embed_dim % groups:
        raise ValueError(
            'SWformer needs an embed_dim that 8 and the groups divide, a block and a group at least, and a positive '
            f'mlp_ratio, but got embed_dim={embed_dim}, depth={depth}, groups={groups}, mlp_ratio={mlp_ratio}.'
        )
    if len(pools) != 4:
        raise ValueError(f'pools must say for each of the 4 convolutions whether it is halved, but got {tuple(pools)}.')


_BLOCK = 'stages.0.blocks.{i}'

KEYS: dict[str, str | None] = {
    '{neuron...}.threshold': None,  # constants of STEP's neurons
    '{neuron...}.act_fun.alpha': None,
    'patch_embed.proj_conv.{p}': 'stem.0.conv.conv.{p}',
    'patch_embed.proj_bn.{p}': 'stem.0.conv.norm.{p}',
    **{f'patch_embed.proj_conv{n}.{{p}}': f'stem.{n}.conv.conv.{{p}}' for n in (1, 2, 3)},
    **{f'patch_embed.proj_bn{n}.{{p}}': f'stem.{n}.conv.norm.{{p}}' for n in (1, 2, 3)},
    'patch_embed.rpe_conv.{p}': 'stem.4.conv_norm.conv.{p}',
    'patch_embed.rpe_bn.{p}': 'stem.4.conv_norm.norm.{p}',
    **{f'block.{{i}}.mlp.fc{n}_conv.{{p}}': f'{_BLOCK}.mlp.fc{n}.conv.{{p}}' for n in (1, 2)},
    **{f'block.{{i}}.mlp.fc{n}_bn.{{p}}': f'{_BLOCK}.mlp.fc{n}.norm.{{p}}' for n in (1, 2)},
    # the mixer is called `attn` or `mixer`
    'block.{i}.{m}.haar_weight': f'{_BLOCK}.mixer.weigh.conv.weight',
    'block.{i}.{m}.haar_forward_bn.{p}': f'{_BLOCK}.mixer.forward_norm.{{p}}',
    'block.{i}.{m}.haar_multiply_bn.{p}': f'{_BLOCK}.mixer.weigh.norm.{{p}}',
    'block.{i}.{m}.haar_bn.{p}': f'{_BLOCK}.mixer.weigh.norm.{{p}}',
    'block.{i}.{m}.haar_inverse_bn.{p}': f'{_BLOCK}.mixer.inverse_norm.{{p}}',
    **{f'block.{{i}}.{{m}}.conv{n}.{{p}}': f'{_BLOCK}.mixer.conv{n}.{{p}}' for n in (1, 2)},
    **{f'block.{{i}}.{{m}}.conv{n}_bn.{{p}}': f'{_BLOCK}.mixer.norm{n}.{{p}}' for n in (1, 2)},
    'head.{p}': 'head.{p}',
}


def checkpoint_filter_fn(checkpoint: Mapping, model: SWFormer) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes."""
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        state = rename(state, KEYS)
        for name, value in state.items():
            if name.endswith('mixer.weigh.conv.weight'):
                state[name] = value.mT.flatten(0, 1)[:, :, None, None]  # group in out -> channels in 1 1
    return check_fit(model, state, adapt=('head', 'stem.0.conv.conv'))


def _cfg(url: str = '', **kwargs: Any) -> dict[str, Any]:
    return {
        'url': url,
        'num_classes': 1000,
        'input_size': (3, 256, 256),
        'pool_size': (16, 16),
        'crop_pct': 0.95,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.0.conv.conv',
        'classifier': 'head',
        'license': 'unknown',
        'origin_url': 'https://github.com/bic-L/Spiking-Wavelet-Transformer',
        'paper_name': 'Spiking Wavelet Transformer',
        'paper_ids': 'arXiv:2403.11138',
        **kwargs,
    }


def _cifar(classes: int, **kwargs: Any) -> dict[str, Any]:
    return _cfg(
        num_classes=classes,
        input_size=(3, 32, 32),
        pool_size=(8, 8),
        crop_pct=1.0,
        mean=(0.4914, 0.4822, 0.4465) if classes == 10 else (0.5071, 0.4867, 0.4408),
        std=(0.2470, 0.2435, 0.2616) if classes == 10 else (0.2675, 0.2565, 0.2761),
        **kwargs,
    )


_STEP = 'https://github.com/Fancyssc/STEP'
default_cfgs = generate_default_cfgs(
    {
        'swformer_6_512.in1k': _cfg(),
        'swformer_8_512.in1k': _cfg(),
        'swformer_4_384_cifar.c10': _cifar(10),
        'swformer_4_384_cifar100.c100': _cifar(100),
        'swformer_cifar.step_c10': _cifar(10, origin_url=_STEP),
        'swformer_cifar100.step_c100': _cifar(100, origin_url=_STEP),
    }
)


def _swformer(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(SWFormer, variant, pretrained, checkpoint_filter_fn, **kwargs)


def _small(variant: str, pretrained: bool, classes: int, **kwargs: Any) -> nn.Module:
    """The original's form for images of CIFAR."""
    options = {'embed_dim': 384, 'depth': 4, 'groups': 4, 'pools': (False, False, True, True), 'head_neuron': False}
    return _swformer(variant, pretrained, **{**options, 'img_size': 32, 'num_classes': classes, **kwargs})


def _step(variant: str, pretrained: bool, classes: int, **kwargs: Any) -> nn.Module:
    """STEP's form for images of CIFAR."""
    return _small(variant, pretrained, classes, **{'groups': 16, 'signed': False, 'stem_spikes': True, **kwargs})


@register_model
def swformer_6_512(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SWformer-6-512, 21.8 M parameters, 39.0 G MACs at 256 x 256."""
    return _swformer('swformer_6_512', pretrained, **{'embed_dim': 512, 'depth': 6, **kwargs})


@register_model
def swformer_8_512(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SWformer-8-512, 27.6 M parameters, 46.3 G MACs at 256 x 256."""
    return _swformer('swformer_8_512', pretrained, **{'embed_dim': 512, 'depth': 8, **kwargs})


@register_model
def swformer_4_384_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SWformer-4-384 for CIFAR-10, 7.5 M parameters, 3.5 G MACs at 32 x 32."""
    return _small('swformer_4_384_cifar', pretrained, 10, **kwargs)


@register_model
def swformer_4_384_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SWformer-4-384 for CIFAR-100, 7.5 M parameters, 3.5 G MACs at 32 x 32."""
    return _small('swformer_4_384_cifar100', pretrained, 100, **kwargs)


@register_model
def swformer_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SWformer of STEP for CIFAR-10, 7.0 M parameters, 3.2 G MACs at 32 x 32."""
    return _step('swformer_cifar', pretrained, 10, **kwargs)


@register_model
def swformer_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SWformer of STEP for CIFAR-100, 7.1 M parameters, 3.2 G MACs at 32 x 32."""
    return _step('swformer_cifar100', pretrained, 100, **kwargs)
