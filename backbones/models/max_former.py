"""Max-Former: a spiking transformer that keeps high frequencies, by max pooling where maps are downsampled and by
depthwise convolutions of spikes in place of attention in the early stages. MS-QKFormer is what it is compared with:
QKFormer's embeddings and token gates with the same shortcuts between membranes.

Paper: Spiking Neural Networks Need High-Frequency Information, arXiv 2505.18608.
Code: bic-L/MaxFormer@6ddd4cc, no licence stated.
Differs: The paper's table has 1, 3 and 7 blocks for ImageNet; the code, its names and the published sizes have 1, 2 and
    7. The event form of MS-QKFormer does not run as published: here its embedding pools behind the second convolution,
    as its CIFAR form does. Published maps must be multiples of the last stride; here any size works. The first
    convolution of an image, the same at every step, is computed once: in training its running variance differs from
    that of the repeated batch by the factor of the unbiased estimate. `drop_path_rate` has no counterpart in the code.

Shapes: T time steps, B batch, H and W height and width of the map, C channels; maps are (T * B, C, H, W).
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath, calculate_drop_path_rates, trunc_normal_
from timm.models import generate_default_cfgs, register_model
from torch import nn

from ..base import Stage, StagedBackbone
from ..build import create
from ..keys import check_fit, is_ours, join, rename, unwrap
from ..layers import (
    ConvNorm,
    MaxPool,
    Neuron,
    Repeat,
    SpikingMlp,
    SpikingSelfAttention,
    TokenQK,
    neuron_maker,
    require_eval,
)

__all__ = ['MaxFormer']

Mixer = int | Literal['none', 'token_qk', 'attention']
STRIDES = {
    'plain': 1,
    'strided': 4,
    'pooled': 4,
    'event': 8,
}  # kind of stem -> pixels that a position of its map covers
DOWNSAMPLES = ('max', 'pool_first', 'pool_last')


class Embed(nn.Module):
    """Change of width and resolution: two branches that see the same spikes.

    y = body(s) + shortcut(s),  s = neuron(x)

    Args:
        neuron: What makes the spikes.
        body: Convolutions, and what stands between them.
        shortcut: A pointwise convolution with a stride, or with max pooling behind it.

    Shape:
        (T * B, C, H, W) -> (T * B, C', ceil(H / stride), ceil(W / stride))

    Source: bic-L/MaxFormer@6ddd4cc:imagenet/embedding_hub.py
    """

    def __init__(self, neuron: nn.Module, body: Sequence[nn.Module], shortcut: Sequence[nn.Module]) -> None:
        super().__init__()
        self.neuron = neuron
        self.body, self.shortcut = nn.Sequential(*body), nn.Sequential(*shortcut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.neuron(x)
        return self.body(s) + self.shortcut(s)


class PlainEmbed(Embed):
    """Embedding of a single convolution, beside a pointwise one of the same stride."""

    @torch.no_grad()
    def fuse(self) -> nn.Sequential:
        """The same with one convolution: the pointwise kernel is added at the centre of the large one."""
        require_eval(self)
        conv, point = self.body[0].fuse(), self.shortcut[0].fuse()  # type: ignore[operator]
        conv.weight += F.pad(point.weight, (conv.kernel_size[0] // 2,) * 4)
        conv.bias += point.bias
        return nn.Sequential(self.neuron, conv).eval()


def _stem(kind: str, in_chans: int, dim: int, neuron: Callable[..., Neuron], num_steps: int, **dd: Any) -> nn.Module:
    """Image, or the pictures of a clip with `num_steps=0`, to the first map."""
    conv = partial(ConvNorm, **dd)
    width = dim // 8 if kind == 'event' else dim // 2
    layers: dict[str, nn.Module] = {'conv': conv(in_chans, width, 3, 2 if kind == 'strided' else 1)}
    if kind == 'pooled':
        layers['pool'] = MaxPool()
    if num_steps:
        layers['repeat'] = Repeat(num_steps)
    if kind == 'plain':
        layers['embed'] = PlainEmbed(neuron(), [conv(width, dim, 3)], [conv(width, dim)])
    elif kind == 'strided':
        body = [conv(width, dim, 3, 2), neuron(), conv(dim, dim, 3)]
        layers['embed'] = Embed(neuron(), body, [conv(width, dim, 1, 2)])
    elif kind == 'pooled':
        body = [conv(width, dim, 3), MaxPool(), neuron(), conv(dim, dim, 3)]
        layers['embed'] = Embed(neuron(), body, [conv(width, dim, 1, 2)])
    else:
        layers['early'] = nn.Sequential(neuron(), conv(width, dim // 4, 3), MaxPool())
        body = [conv(dim // 4, dim // 2, 3), MaxPool(), neuron(), conv(dim // 2, dim, 3), MaxPool()]
        layers['embed'] = Embed(neuron(), body, [conv(dim // 4, dim, 1, 4)])
    return nn.Sequential(OrderedDict(layers))


def _downsample(kind: str, in_dim: int, dim: int, neuron: Callable[..., Neuron], **dd: Any) -> Embed:
    """Half the resolution, by max pooling in both branches or in the body alone."""
    conv = partial(ConvNorm, **dd)
    first, last = conv(in_dim, dim, 3), conv(dim, dim, 3)
    body = [first, neuron(), last, MaxPool()] if kind == 'pool_last' else [first, MaxPool(), neuron(), last]
    shortcut = [conv(in_dim, dim), MaxPool()] if kind == 'max' else [conv(in_dim, dim, 1, 2)]
    return Embed(neuron(), body, shortcut)


def _mixer(kind: Mixer, dim: int, num_heads: int, neuron: Callable[..., Neuron], **dd: Any) -> nn.Module | None:
    """Token mixer of spikes, without the neuron in front of it."""
    if kind == 'none':
        return None
    if kind == 'token_qk':
        return TokenQK(dim, num_heads, neuron, **dd)
    if kind == 'attention':
        return SpikingSelfAttention(dim, num_heads, neuron, **dd)
    return ConvNorm(dim, dim, kind, groups=dim, bias=True, **dd)


class Block(nn.Module):
    """Token mixer and channel mixer of spikes, with shortcuts between membranes.

    x = x + drop_path(mixer(neuron(x)));  y = x + drop_path(BN(W_2 neuron(BN(W_1 neuron(x)))))

    A channel mixer that keeps the width has a shortcut around each of its two convolutions.

    Args:
        dim: Channels.
        mixer: Token mixer; None leaves it out.
        hidden_dim: Width inside the channel mixer.
        neuron: Makes a neuron.
        drop_path: Rate at which a branch is left out, for each image and step.

    Shape:
        (T * B, C, H, W) -> (T * B, C, H, W)

    Source: bic-L/MaxFormer@6ddd4cc:imagenet/mixer_hub.py and event/mixer_hub.py
    """

    def __init__(
        self,
        dim: int,
        mixer: nn.Module | None,
        hidden_dim: int,
        neuron: Callable[..., Neuron],
        drop_path: float = 0.0,
        **dd: Any,
    ) -> None:
        super().__init__()
        self.neuron = neuron() if mixer is not None else None
        self.mixer = mixer
        self.mlp = SpikingMlp(dim, hidden_dim, neuron, first=True, **dd)
        self.keeps_width = hidden_dim == dim
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mixer is not None and self.neuron is not None:
            x = x + self.drop_path(self.mixer(self.neuron(x)))
        if not self.keeps_width:
            return x + self.drop_path(self.mlp(x))
        x = x + self.drop_path(self.mlp.fc1(self.mlp.neuron1(x)))
        return x + self.drop_path(self.mlp.fc2(self.mlp.neuron2(x)))


class MaxFormer(StagedBackbone):
    """Max-Former and MS-QKFormer.

    Args:
        dims: Channels of the stages.
        depths: Blocks of the stages.
        mixers: Token mixer of each stage: 'attention', 'token_qk', 'none', or the odd side of a depthwise kernel.
        num_heads: Heads of every mixer that has heads.
        mlp_ratio: Hidden width of the channel mixers, as a multiple of their channels.
        stem: Embedding of the image: 'plain' keeps its resolution, 'strided' and 'pooled' take every fourth pixel, by
            strides or by max pooling, and 'event' every eighth.
        downsample: Between stages: 'max' pools both branches, 'pool_first' the body alone, behind its first
            convolution, and 'pool_last' behind its second.
        num_steps: Time steps T.
        neuron: 'lif' as published, another name in `layers.NEURONS`, or 'relu' for real activations.
        clips: Whether an input is a clip (B, T, C, H, W).
        conv_std: Standard deviation of the first weights of convolutions outside of attention (ImageNet); None leaves
            them as PyTorch makes them and takes 0.02 for the classifier (CIFAR and events).
        img_size: Side or (height, width) in pixels; no weight depends on it, any other size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth at the last block, growing linearly from 0; none is published.

    Raises:
        ValueError: Numbers of stages differ, a width does not divide, or a kind is unknown.

    Source: bic-L/MaxFormer@6ddd4cc:imagenet/max_former.py:Max_Former
    """

    head_steps = True

    def __init__(
        self,
        dims: Sequence[int] = (96, 192, 384),
        depths: Sequence[int] = (1, 2, 7),
        mixers: Sequence[Mixer] = (7, 5, 'attention'),
        num_heads: int = 6,
        mlp_ratio: float = 4.0,
        stem: str = 'strided',
        downsample: str = 'max',
        num_steps: int = 4,
        neuron: str = 'lif',
        clips: bool = False,
        conv_std: float | None = 0.02,
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
            num_steps=num_steps,
            clips=clips,
        )
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        _check(dims, depths, mixers, stem, downsample)
        self.conv_std = conv_std
        self.embeds = (stem, *[downsample] * (len(dims) - 1))
        self.depths, self.mixers = tuple(depths), tuple(mixers)
        make = neuron_maker(neuron, num_steps, **dd)
        self.stem = _stem(stem, in_chans, dims[0], make, 0 if clips else num_steps, **dd)
        rates: Any = iter(calculate_drop_path_rates(drop_path_rate, sum(depths)))
        stages: list[Stage] = []
        for i, (dim, depth, mixer) in enumerate(zip(dims, depths, mixers, strict=True)):
            hidden = int(dim * mlp_ratio)
            blocks = [
                Block(dim, _mixer(mixer, dim, num_heads, make, **dd), hidden, make, next(rates), **dd)
                for _ in range(depth)
            ]
            stages.append(Stage(_downsample(downsample, dims[i - 1], dim, make, **dd) if i else nn.Identity(), blocks))
            self.feature_info.append({'num_chs': dim, 'reduction': STRIDES[stem] * 2**i, 'module': f'stages.{i}'})
        self.stages = nn.Sequential(*stages)
        self.head_neuron = make()
        self._finish(**dd)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """A clip step by step; an image as it is, since the stem repeats what is behind its first convolution."""
        return super().encode(x) if self.clips else x

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Normal, cut at two: convolutions but those of attention and zero biases, or the classifier."""
        attends = any(part in name for part in ('.qkv.', '.qk.', '.proj.'))
        if isinstance(module, nn.Conv2d) and self.conv_std is not None and not attends:
            trunc_normal_(module.weight, std=self.conv_std)
        elif isinstance(module, nn.Linear) and self.conv_std is None:
            trunc_normal_(module.weight, std=0.02)
        else:
            return
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _check(dims: Sequence[int], depths: Sequence[int], mixers: Sequence[Mixer], stem: str, downsample: str) -> None:
    if not dims or not len(dims) == len(depths) == len(mixers) or min(*dims, *depths) < 1:
        raise ValueError(
            'Max-Former needs a width, a depth of at least 1 and a mixer for each stage, but got '
            f'dims={tuple(dims)}, depths={tuple(depths)} and mixers={tuple(mixers)}.'
        )
    if stem not in STRIDES:
        raise ValueError(f'stem must be one of {", ".join(STRIDES)}, but got {stem!r}.')
    parts = 8 if stem == 'event' else 2
    if dims[0] % parts:
        raise ValueError(f'The first width must be a multiple of {parts} with stem={stem!r}, but got {dims[0]}.')
    if downsample not in DOWNSAMPLES:
        raise ValueError(f'downsample must be one of {", ".join(DOWNSAMPLES)}, but got {downsample!r}.')
    for mixer in mixers:
        odd = isinstance(mixer, int) and mixer > 0 and mixer % 2
        if not odd and mixer not in ('none', 'token_qk', 'attention'):
            raise ValueError(
                f"A mixer must be 'attention', 'token_qk', 'none' or the odd side of a kernel, but got {mixer!r}."
            )


# kind -> the convolutions of an embedding, published and ours, in their order; `{}` is 'conv' or 'bn'
_EMBEDS: dict[str, dict[str, str]] = {
    'plain': {'proj_{}': 'conv', 'embed1.embed_{}': 'embed.body.0', 'embed2.embed_{}': 'embed.shortcut.0'},
    'strided': {
        'embed1.embed_{}': 'conv',
        'embed2.embed_{}': 'embed.body.0',
        'embed3.embed_{}': 'embed.body.2',
        'embed4.embed_{}': 'embed.shortcut.0',
    },
    'pooled': {
        'proj_{}': 'conv',
        'proj_{}1': 'embed.body.0',
        'proj_{}2': 'embed.body.3',
        'rpe_{}': 'embed.shortcut.0',
    },
    'event': {
        'proj_{}': 'conv',
        'max_embed1.embed_{}': 'early.1',
        'max_embed2.embed_{}': 'embed.body.0',
        'max_embed3.embed_{}': 'embed.body.3',
        'embed1.embed_{}': 'embed.shortcut.0',
    },
    'max': {'max_embed1.embed_{}': 'body.0', 'embed1.embed_{}': 'body.3', 'max_embed2.embed_{}': 'shortcut.0'},
    'pool_first': {'proj3_{}': 'body.0', 'proj4_{}': 'body.3', 'proj_res_{}': 'shortcut.0'},
    'pool_last': {'embed1.embed_{}': 'body.0', 'max_embed1.embed_{}': 'body.2', 'embed2.embed_{}': 'shortcut.0'},
}
_BLOCK = 'stage{s}.{b}', 'stages.{s-1}.blocks.{b}'

KEYS: dict[str, str | None] = {
    f'{_BLOCK[0]}.mixer.conv.{{p}}': f'{_BLOCK[1]}.mixer.conv.{{p}}',
    f'{_BLOCK[0]}.mixer.conv_bn.{{p}}': f'{_BLOCK[1]}.mixer.norm.{{p}}',
    f'{_BLOCK[0]}.mixer.conv5.{{p}}': f'{_BLOCK[1]}.mixer.conv.{{p}}',  # so is the kernel of 7 x 7 called
    f'{_BLOCK[0]}.mixer.conv5_bn.{{p}}': f'{_BLOCK[1]}.mixer.norm.{{p}}',
    **{
        f'{_BLOCK[0]}.{part}.{layer}_{old}.{{p}}': f'{_BLOCK[1]}.{own}.{layer}.{new}.{{p}}'
        for part, own, layers in (('attn', 'mixer', ('q', 'k', 'v', 'proj')), ('mlp', 'mlp', ('fc1', 'fc2')))
        for layer in layers
        for old, new in (('conv', 'conv'), ('bn', 'norm'))
    },
    'head.{p}': 'head.{p}',
}
_PARTS = {'token_qk': 'qk', 'attention': 'qkv'}  # mixer -> its projections, which are one of ours


def checkpoint_filter_fn(checkpoint: Mapping, model: MaxFormer) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes.

    The authors load their files by the order of the tensors, as some have older names. So does this where a name is not
    known and there are as many tensors as the model has.
    """
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        table = {**_embed_keys(model.embeds), **KEYS}
        try:
            state = rename(state, table)
        except ValueError:
            tensors, names = [value for value in state.values() if value.ndim], _names(model)
            if len(tensors) != len(names):
                raise
            state = rename(dict(zip(names, tensors, strict=True)), table)
        for i, mixer in enumerate(model.mixers):
            at, parts = f'stages.{i}.blocks.{{b}}.mixer.', _PARTS.get(str(mixer))
            if parts:
                state = join(state, {f'{at}{parts}.{{p...}}': [f'{at}{part}.{{p...}}' for part in parts]})
        # published convolutions over tokens have one axis, ours two
        state = {key: value[..., None] if value.ndim == 3 else value for key, value in state.items()}
    return check_fit(model, state, adapt=('head', 'stem.conv.conv'))


def _embed_keys(kinds: Sequence[str]) -> dict[str, str]:
    """Rows of the key table for the embeddings, the stem's first."""
    places = ['stem', *(f'stages.{i}.downsample' for i in range(1, len(kinds)))]
    return {
        f'patch_embed{i}.{published.format(old)}.{{p}}': f'{place}.{own}.{new}.{{p}}'
        for i, (place, kind) in enumerate(zip(places, kinds, strict=True), 1)
        for published, own in _EMBEDS[kind].items()
        for old, new in (('conv', 'conv'), ('bn', 'norm'))
    }


def _names(model: MaxFormer) -> list[str]:
    """Published names of all tensors but the counters, in their order."""
    layers = [  # convolution, normalisation, and whether there is a bias
        (*(f'patch_embed{i}.{layer.format(part)}' for part in ('conv', 'bn')), False)
        for i, kind in enumerate(model.embeds, 1)
        for layer in _EMBEDS[kind]
    ]
    for i, (mixer, depth) in enumerate(zip(model.mixers, model.depths, strict=True), 1):
        for block in (f'stage{i}.{b}' for b in range(depth)):
            if isinstance(mixer, int):
                layers.append((f'{block}.mixer.conv', f'{block}.mixer.conv_bn', True))
            parts = [*_PARTS.get(str(mixer), ''), 'proj'] if mixer in _PARTS else []
            layers += [(f'{block}.attn.{p}_conv', f'{block}.attn.{p}_bn', p == 'proj') for p in parts]
            layers += [(f'{block}.mlp.{p}_conv', f'{block}.mlp.{p}_bn', True) for p in ('fc1', 'fc2')]
    names = []
    for conv, norm, bias in layers:
        names += [f'{conv}.weight', *[f'{conv}.bias'] * bias]
        names += [f'{norm}.{part}' for part in ('weight', 'bias', 'running_mean', 'running_var')]
    return [*names, 'head.weight', 'head.bias']


def _cfg(url: str = '', classes: int = 1000, size: tuple[int, int, int] = (3, 224, 224), **kwargs: Any) -> dict:
    release = 'https://github.com/bic-L/MaxFormer/releases/download/checkpoints/'
    return {
        'url': url and release + url,
        'num_classes': classes,
        'input_size': size,
        'pool_size': (size[1] // 16, size[2] // 16),
        'crop_pct': 0.875,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.conv.conv',
        'classifier': 'head',
        'license': 'unknown',
        'origin_url': 'https://github.com/bic-L/MaxFormer',
        'paper_name': 'Spiking Neural Networks Need High-Frequency Information',
        'paper_ids': 'arXiv:2505.18608',
        **kwargs,
    }


def _cifar(classes: int = 10) -> dict[str, Any]:
    mean, std = {
        10: ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        100: ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    }[classes]
    return _cfg(classes=classes, size=(3, 32, 32), pool_size=(8, 8), crop_pct=1.0, mean=mean, std=std)


def _events(classes: int = 10) -> dict[str, Any]:
    return _cfg(classes=classes, size=(2, 128, 128), pool_size=(8, 8), crop_pct=1.0, mean=(0.0, 0.0), std=(1.0, 1.0))


default_cfgs = generate_default_cfgs(
    {
        'maxformer_10_384.untrained': _cfg(),
        'maxformer_10_384_t4.bic_in1k': _cfg('10-384-T4.pth.tar'),
        'maxformer_10_512.bic_in1k': _cfg('10-512-T1.pth.tar'),
        'maxformer_10_512_t4.bic_in1k': _cfg('10-512-T4.pth.tar'),
        'maxformer_10_768.bic_in1k': _cfg('10-768-T1.pth.tar'),
        'maxformer_10_768_t4.bic_in1k': _cfg('10-768-T4.pth.tar'),
        'ms_qkformer_10_384.untrained': _cfg(),
        'ms_qkformer_10_384_t4.bic_in1k': _cfg('ms_qk_10-384_T4.pth.tar'),
        'ms_qkformer_10_512.untrained': _cfg(),
        'ms_qkformer_10_768.bic_in1k': _cfg('ms_qk_10-768_T1.pth.tar'),
        'max_former_cifar.untrained': _cifar(),
        'max_former_cifar100.untrained': _cifar(100),
        'ms_qkformer_cifar.untrained': _cifar(),
        'ms_qkformer_cifar100.untrained': _cifar(100),
        'max_former_cifar10dvs.untrained': _events(),
        'max_former_dvsgesture.untrained': _events(11),
        'ms_qkformer_cifar10dvs.untrained': _events(),
        'ms_qkformer_dvsgesture.untrained': _events(11),
    }
)

_QK: dict[str, Any] = {'stem': 'pooled', 'downsample': 'pool_first', 'mixers': ('token_qk', 'token_qk', 'attention')}
_CIFAR: dict[str, Any] = {
    'dims': (96, 192, 384),
    'depths': (1, 1, 2),
    'mixers': ('none', 3, 'attention'),
    'num_heads': 8,
    'stem': 'plain',
    'conv_std': None,
    'img_size': 32,
}
_CIFAR_QK: dict[str, Any] = {**_CIFAR, 'mixers': ('token_qk', 'token_qk', 'attention'), 'downsample': 'pool_last'}
_EVENTS: dict[str, Any] = {
    'dims': (128, 256),
    'depths': (1, 1),
    'mixers': (3, 'attention'),
    'num_heads': 16,
    'mlp_ratio': 1.0,
    'stem': 'event',
    'num_steps': 16,
    'clips': True,
    'conv_std': None,
    'img_size': 128,
    'in_chans': 2,
}
_EVENTS_QK: dict[str, Any] = {**_EVENTS, 'mixers': ('token_qk', 'attention'), 'downsample': 'pool_last'}


def _max_former(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(MaxFormer, variant, pretrained, checkpoint_filter_fn, **kwargs)


def _imagenet(variant: str, pretrained: bool, dim: int, steps: int, **kwargs: Any) -> nn.Module:
    numbers = {'dims': (dim // 4, dim // 2, dim), 'num_heads': dim // 64, 'num_steps': steps}
    return _max_former(variant, pretrained, **{**numbers, **kwargs})


@register_model
def maxformer_10_384(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Max-Former-10-384 of one step, 16.2 M parameters, 5.3 G MACs at 224 x 224."""
    return _imagenet('maxformer_10_384', pretrained, 384, 1, **kwargs)


@register_model
def maxformer_10_384_t4(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Max-Former-10-384 of four steps, 16.2 M parameters, 21.3 G MACs at 224 x 224."""
    return _imagenet('maxformer_10_384_t4', pretrained, 384, 4, **kwargs)


@register_model
def maxformer_10_512(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Max-Former-10-512 of one step, 28.7 M parameters, 9.4 G MACs at 224 x 224."""
    return _imagenet('maxformer_10_512', pretrained, 512, 1, **kwargs)


@register_model
def maxformer_10_512_t4(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Max-Former-10-512 of four steps, 28.7 M parameters, 37.6 G MACs at 224 x 224."""
    return _imagenet('maxformer_10_512_t4', pretrained, 512, 4, **kwargs)


@register_model
def maxformer_10_768(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Max-Former-10-768 of one step, 64.0 M parameters, 21.1 G MACs at 224 x 224."""
    return _imagenet('maxformer_10_768', pretrained, 768, 1, **kwargs)


@register_model
def maxformer_10_768_t4(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Max-Former-10-768 of four steps, 64.0 M parameters, 84.2 G MACs at 224 x 224."""
    return _imagenet('maxformer_10_768_t4', pretrained, 768, 4, **kwargs)


@register_model
def ms_qkformer_10_384(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MS-QKFormer-10-384 of one step, 16.5 M parameters, 5.9 G MACs at 224 x 224."""
    return _imagenet('ms_qkformer_10_384', pretrained, 384, 1, **{**_QK, **kwargs})


@register_model
def ms_qkformer_10_384_t4(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MS-QKFormer-10-384 of four steps, 16.5 M parameters, 23.5 G MACs at 224 x 224."""
    return _imagenet('ms_qkformer_10_384_t4', pretrained, 384, 4, **{**_QK, **kwargs})


@register_model
def ms_qkformer_10_512(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MS-QKFormer-10-512 of one step, 29.1 M parameters, 10.5 G MACs at 224 x 224."""
    return _imagenet('ms_qkformer_10_512', pretrained, 512, 1, **{**_QK, **kwargs})


@register_model
def ms_qkformer_10_768(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MS-QKFormer-10-768 of one step, 65.0 M parameters, 23.4 G MACs at 224 x 224."""
    return _imagenet('ms_qkformer_10_768', pretrained, 768, 1, **{**_QK, **kwargs})


@register_model
def max_former_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Max-Former for CIFAR-10, 6.6 M parameters, 3.9 G MACs at 32 x 32."""
    return _max_former('max_former_cifar', pretrained, **{**_CIFAR, 'num_classes': 10, **kwargs})


@register_model
def max_former_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Max-Former for CIFAR-100, 6.6 M parameters, 3.9 G MACs at 32 x 32."""
    return _max_former('max_former_cifar100', pretrained, **{**_CIFAR, 'num_classes': 100, **kwargs})


@register_model
def ms_qkformer_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MS-QKFormer for CIFAR-10, 6.7 M parameters, 6.1 G MACs at 32 x 32."""
    return _max_former('ms_qkformer_cifar', pretrained, **{**_CIFAR_QK, 'num_classes': 10, **kwargs})


@register_model
def ms_qkformer_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MS-QKFormer for CIFAR-100, 6.7 M parameters, 6.1 G MACs at 32 x 32."""
    return _max_former('ms_qkformer_cifar100', pretrained, **{**_CIFAR_QK, 'num_classes': 100, **kwargs})


@register_model
def max_former_cifar10dvs(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Max-Former for CIFAR10-DVS, 1.5 M parameters, 6.3 G MACs at 128 x 128."""
    return _max_former('max_former_cifar10dvs', pretrained, **{**_EVENTS, 'num_classes': 10, **kwargs})


@register_model
def max_former_dvsgesture(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Max-Former for DVS128 Gesture, 1.5 M parameters, 6.3 G MACs at 128 x 128."""
    return _max_former('max_former_dvsgesture', pretrained, **{**_EVENTS, 'num_classes': 11, **kwargs})


@register_model
def ms_qkformer_cifar10dvs(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MS-QKFormer for CIFAR10-DVS, 1.5 M parameters, 8.2 G MACs at 128 x 128."""
    return _max_former('ms_qkformer_cifar10dvs', pretrained, **{**_EVENTS_QK, 'num_classes': 10, **kwargs})


@register_model
def ms_qkformer_dvsgesture(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MS-QKFormer for DVS128 Gesture, 1.5 M parameters, 8.2 G MACs at 128 x 128."""
    return _max_former('ms_qkformer_dvsgesture', pretrained, **{**_EVENTS_QK, 'num_classes': 11, **kwargs})
