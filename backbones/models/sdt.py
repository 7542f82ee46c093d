"""Spike-driven Transformer: attention of spikes without a product of matrices. Keys mask values, their sum over all
tokens fires or not, and what fired masks the queries; shortcuts join membranes, so that every convolution but the first
sees spikes alone.

Paper: Spike-driven Transformer, arXiv 2307.01694.
Code: BICLab/Spike-Driven-Transformer@3faa822, Apache-2.0; sdt_cifar, sdt_cifar_384 and sdt_imagenet* follow the
    re-implementation in Fancyssc/STEP@c0b3193, no licence stated.
Differs: In STEP the neuron of the gate fires at 1, in the authors' code at 0.5; for ImageNet STEP pools twice, as for
    CIFAR, so that its stride is 4 and its tokens are 16 times as many. Heads are cut but change nothing, so that there
    are none here but for events of CIFAR10-DVS, where spikes spread inside of each; the published parameter counts
    include a convolution between them that is never used.
    Published code takes maps that are multiples of the last stride, here any size works. What is the same at every
    step, the first convolution of an image, is computed once: in training its running variance then differs from that
    of the repeated batch by the unbiased estimate's factor. `drop_path_rate` is an argument of the code without effect.

Shapes: T time steps, B batch, H and W height and width of the map, C channels; maps are (T * B, C, H, W).
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
from ..keys import check_fit, is_ours, join, rename, unwrap
from ..layers import LIF, ConvNorm, MaxPool, Neuron, Repeat, SpikingConv, SpikingMlp, free_reshape

__all__ = ['SpikeDrivenTransformer']


class SpikeDrivenAttention(nn.Module):
    """Token mixer: what keys and values have in common, summed over the tokens, gates the channels of the queries.

    q, k, v = neuron(BN(W s));  g = neuron(sum over tokens of k v);  BN(W_o (q g)),  products of elements

    For events spikes spread to their neighbours, by the largest of each 3 x 3: those of k and v to those in the map,
    those of k v and of q g, within each head, to the tokens before and after and to the channels beside.

    Args:
        dim: Channels.
        neuron: Makes a neuron; takes `v_threshold`.
        threshold: Charge at which the neurons of the gate fire.
        spread_heads: Heads inside which spikes spread; 0 lets none spread.

    Shape:
        (T * B, C, H, W) -> (T * B, C, H, W)

    Source: BICLab/Spike-Driven-Transformer@3faa822:module/ms_conv.py:MS_SSA_Conv, arXiv 2307.01694, equation 13
    """

    def __init__(
        self, dim: int, neuron: Callable[..., Neuron], threshold: float = 0.5, spread_heads: int = 0, **dd: Any
    ) -> None:
        super().__init__()
        self.heads = spread_heads
        self.spread = MaxPool(stride=1) if spread_heads else nn.Identity()
        self.qkv = ConvNorm(dim, 3 * dim, **dd)
        self.qkv_neuron = neuron()
        self.gate_neuron = neuron(v_threshold=threshold)
        self.proj = ConvNorm(dim, dim, bias=True, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv_neuron(self.qkv(x)).chunk(3, 1)
        wide = torch.promote_types(x.dtype, torch.float32)  # half precision cannot count the tokens of large maps
        both = self._spread_in_heads(self.spread(k) * self.spread(v))
        g = self.gate_neuron(both.sum((2, 3), keepdim=True, dtype=wide)).to(x.dtype)  # TB C 1 1
        return self.proj(self._spread_in_heads(q * g))

    def _spread_in_heads(self, s: torch.Tensor) -> torch.Tensor:
        if not self.heads:
            return s
        images, channels, height, width = s.shape
        planes = free_reshape(s, images, self.heads, channels // self.heads, height * width)  # TB h C/h N
        return free_reshape(self.spread(planes), images, channels, height, width)


class Block(nn.Module):
    """Token mixer and channel mixer of spikes, each with a shortcut between membranes.

    x = x + drop_path(SDSA(neuron(x)));  y = x + drop_path(BN(W_2 neuron(BN(W_1 neuron(x)))))

    Shape:
        (T * B, C, H, W) -> (T * B, C, H, W)

    Source: BICLab/Spike-Driven-Transformer@3faa822:module/ms_conv.py:MS_Block_Conv
    """

    def __init__(
        self,
        dim: int,
        mlp_ratio: float,
        neuron: Callable[..., Neuron],
        threshold: float,
        drop_path: float = 0.0,
        spread_heads: int = 0,
        **dd: Any,
    ) -> None:
        super().__init__()
        self.neuron = neuron()
        self.mixer = SpikeDrivenAttention(dim, neuron, threshold, spread_heads, **dd)
        self.mlp = SpikingMlp(dim, int(dim * mlp_ratio), neuron, first=True, **dd)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.drop_path(self.mixer(self.neuron(x)))
        return x + self.drop_path(self.mlp(x))


class PositionEmbed(nn.Module):
    """End of the tokenizer: the last convolution, and one of its spikes that tells tokens where they are.

    f = pool(BN(W * x));  y = f + BN(W_p * neuron(f))

    Args:
        in_chs: Channels of the input.
        out_chs: Channels of the output.
        pool: Whether f is pooled to half the size.
        neuron: Makes a neuron.

    Shape:
        (T * B, in_chs, H, W) -> (T * B, out_chs, H, W), or half of H and W, rounded up, with `pool`

    Source: BICLab/Spike-Driven-Transformer@3faa822:module/sps.py:MS_SPS
    """

    def __init__(self, in_chs: int, out_chs: int, pool: bool, neuron: Callable[..., Neuron], **dd: Any) -> None:
        super().__init__()
        self.embed = ConvNorm(in_chs, out_chs, 3, **dd)
        self.pool = MaxPool() if pool else nn.Identity()
        self.neuron = neuron()
        self.position = ConvNorm(out_chs, out_chs, 3, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.embed(x))
        return x + self.position(self.neuron(x))


class SpikeDrivenTransformer(StagedBackbone):
    """Spike-driven Transformer: levels behind three convolutions of its tokenizer, and its blocks at one stride.

    Args:
        embed_dim: Channels of the blocks, a multiple of 8; the tokenizer has an eighth, a quarter and half of them.
        depth: Blocks.
        mlp_ratio: Hidden width of the channel mixers, as a multiple of their channels.
        pools: Whether each of the four convolutions of the tokenizer is followed by a pooling to half the size.
        gate_threshold: Charge at which the neurons of the attention's gate fire.
        spread_heads: Heads of the attention inside which spikes spread to their neighbours; 0 (all but CIFAR10-DVS)
            lets none spread.
        clips: Whether an input is a clip (B, T, C, H, W) with a picture for each step.
        num_steps: Time steps T.
        img_size: Side or (height, width) in pixels; no weight depends on it, any other size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth at the last block, growing linearly from 0, for each image and step.

    Raises:
        ValueError: A width, depth or number of heads that cannot be, or another number of poolings.

    Source: BICLab/Spike-Driven-Transformer@3faa822:model/spikeformer.py:SpikeDrivenTransformer
    """

    head_steps = True

    def __init__(
        self,
        embed_dim: int = 512,
        depth: int = 8,
        mlp_ratio: float = 4.0,
        pools: Sequence[bool] = (True, True, True, True),
        gate_threshold: float = 0.5,
        spread_heads: int = 0,
        clips: bool = False,
        num_steps: int = 4,
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
            stem_taps=(1,),
        )
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        _check(embed_dim, depth, pools, spread_heads)
        neuron = partial(LIF, num_steps)
        dims = [embed_dim // 8, embed_dim // 4, embed_dim // 2, embed_dim]
        kinds: list[Any] = ['spikes' if pool else None for pool in pools]
        self.stem = nn.Sequential(
            SpikingConv(in_chans, dims[0], neuron, pool=kinds[0], repeat=None if clips else Repeat(num_steps), **dd),
            SpikingConv(dims[0], dims[1], neuron, pool=kinds[1], **dd),
        )
        rates: Any = calculate_drop_path_rates(drop_path_rate, depth)
        blocks = [Block(embed_dim, mlp_ratio, neuron, gate_threshold, rate, spread_heads, **dd) for rate in rates]
        self.stages = nn.Sequential(
            Stage(SpikingConv(dims[1], dims[2], neuron, pool=kinds[2], **dd), ()),
            Stage(PositionEmbed(dims[2], dims[3], pools[3], neuron, **dd), blocks),
        )
        self.head_neuron = neuron()
        for i, module in enumerate(('stem.1', 'stages.0', 'stages.1'), start=1):
            self.feature_info.append({'num_chs': dims[i], 'reduction': 2 ** sum(pools[: i + 1]), 'module': module})
        self._finish(**dd)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """The steps of a clip, or the image itself, which the stem repeats behind its first convolution."""
        return super().encode(x) if self.clips else x

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Convolutions: normal, cut at two, with standard deviation 0.02, and zero biases."""
        if isinstance(module, nn.Conv2d):
            trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _check(embed_dim: int, depth: int, pools: Sequence[bool], spread_heads: int) -> None:
    if spread_heads < 0 or (spread_heads and embed_dim % spread_heads):
        raise ValueError(f'spread_heads must divide embed_dim {embed_dim}, or be 0, but is {spread_heads}.')
    if embed_dim < 8 or embed_dim % 8 or depth < 1 or len(pools) != 4:
        raise ValueError(
            'A Spike-driven Transformer needs an embed_dim that 8 divides, at least one block and four poolings, but '
            f'got embed_dim={embed_dim}, depth={depth} and pools={tuple(pools)}.'
        )


_BLOCK = 'block.{b}', 'stages.1.blocks.{b}'

KEYS: dict[str, str | None] = {
    # constants of STEP's neurons, and a convolution between heads that is not used
    '{neuron...}.threshold': None,
    '{neuron...}.act_fun.alpha': None,
    f'{_BLOCK[0]}.attn.talking_heads.weight': None,
    'patch_embed.proj_conv.{p}': 'stem.0.conv.conv.{p}',
    'patch_embed.proj_bn.{p}': 'stem.0.conv.norm.{p}',
    'patch_embed.proj_conv1.{p}': 'stem.1.conv.conv.{p}',
    'patch_embed.proj_bn1.{p}': 'stem.1.conv.norm.{p}',
    'patch_embed.proj_conv2.{p}': 'stages.0.downsample.conv.conv.{p}',
    'patch_embed.proj_bn2.{p}': 'stages.0.downsample.conv.norm.{p}',
    'patch_embed.proj_conv3.{p}': 'stages.1.downsample.embed.conv.{p}',
    'patch_embed.proj_bn3.{p}': 'stages.1.downsample.embed.norm.{p}',
    'patch_embed.rpe_conv.{p}': 'stages.1.downsample.position.conv.{p}',
    'patch_embed.rpe_bn.{p}': 'stages.1.downsample.position.norm.{p}',
    f'{_BLOCK[0]}.attn.{{x}}_conv.{{p}}': f'{_BLOCK[1]}.mixer.{{x}}.conv.{{p}}',
    f'{_BLOCK[0]}.attn.{{x}}_bn.{{p}}': f'{_BLOCK[1]}.mixer.{{x}}.norm.{{p}}',
    f'{_BLOCK[0]}.mlp.fc{{n}}_conv.{{p}}': f'{_BLOCK[1]}.mlp.fc{{n}}.conv.{{p}}',
    f'{_BLOCK[0]}.mlp.fc{{n}}_bn.{{p}}': f'{_BLOCK[1]}.mlp.fc{{n}}.norm.{{p}}',
    f'{_BLOCK[0]}.mlp.fc_conv{{n}}.{{p}}': f'{_BLOCK[1]}.mlp.fc{{n}}.conv.{{p}}',
    f'{_BLOCK[0]}.mlp.fc_bn{{n}}.{{p}}': f'{_BLOCK[1]}.mlp.fc{{n}}.norm.{{p}}',
    'head.{p}': 'head.{p}',
}
_JOINED = {'{at...}.qkv.{of...}': ('{at...}.q.{of...}', '{at...}.k.{of...}', '{at...}.v.{of...}')}


def checkpoint_filter_fn(checkpoint: Mapping, model: SpikeDrivenTransformer) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes."""
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        state = join(rename(state, KEYS), _JOINED)
    return check_fit(model, state, adapt=('head', 'stem.0.conv.conv'))


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        'num_classes': 1000,
        'input_size': (3, 224, 224),
        'pool_size': (14, 14),
        'crop_pct': 0.95,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.0.conv.conv',
        'classifier': 'head',
        'license': 'apache-2.0',
        'origin_url': 'https://github.com/BICLab/Spike-Driven-Transformer',
        'paper_name': 'Spike-driven Transformer',
        'paper_ids': 'arXiv:2307.01694',
        **kwargs,
    }


_STEP: dict[str, Any] = {'license': 'unknown', 'origin_url': 'https://github.com/Fancyssc/STEP', 'crop_pct': 1.0}
_CIFAR: dict[str, Any] = {'input_size': (3, 32, 32), 'pool_size': (8, 8), 'crop_pct': 1.0}
_CIFAR10: dict[str, Any] = {
    **_CIFAR,
    'num_classes': 10,
    'mean': (0.4914, 0.4822, 0.4465),
    'std': (0.2470, 0.2435, 0.2616),
}
_CIFAR100: dict[str, Any] = {
    **_CIFAR,
    'num_classes': 100,
    'mean': (0.5071, 0.4867, 0.4408),
    'std': (0.2675, 0.2565, 0.2761),
}


def _events(classes: int, side: int) -> dict[str, Any]:
    form = {'num_classes': classes, 'input_size': (2, side, side), 'pool_size': (16, 16), 'crop_pct': 1.0}
    return _cfg(**form, mean=(0.0, 0.0), std=(1.0, 1.0))


# no published file has an address that a program can fetch: checkpoints/index.yaml says where they lie
default_cfgs = generate_default_cfgs(
    {
        'sdt_8_384.biclab_in1k': _cfg(),
        'sdt_6_512.biclab_in1k': _cfg(),
        'sdt_8_512.biclab_in1k': _cfg(),
        'sdt_10_512.biclab_in1k': _cfg(),
        'sdt_8_768.biclab_in1k': _cfg(),
        'sdt_2_256_cifar.biclab_cifar10': _cfg(**_CIFAR10),
        'sdt_2_512_cifar.biclab_cifar10': _cfg(**_CIFAR10),
        'sdt_2_256_cifar100.biclab_cifar100': _cfg(**_CIFAR100),
        'sdt_2_512_cifar100.biclab_cifar100': _cfg(**_CIFAR100),
        'sdt_2_256_cifar10dvs.untrained': _events(10, 64),
        'sdt_2_256_dvsgesture.untrained': _events(11, 128),
        'sdt_imagenet.step_in1k': _cfg(**_STEP, pool_size=(56, 56)),
        'sdt_imagenet_384.step_in1k': _cfg(**_STEP, pool_size=(56, 56)),
        'sdt_cifar.step_cifar10': _cfg(**{**_CIFAR10, **_STEP}),
        'sdt_cifar100.step_cifar100': _cfg(**{**_CIFAR100, **_STEP}),
        'sdt_cifar_384.step_cifar10': _cfg(**{**_CIFAR10, **_STEP}),
    }
)


def _sdt(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(SpikeDrivenTransformer, variant, pretrained, checkpoint_filter_fn, **kwargs)


_TWO_POOLS: dict[str, Any] = {'pools': (False, False, True, True)}
_SMALL: dict[str, Any] = {**_TWO_POOLS, 'img_size': 32, 'num_classes': 10, 'depth': 2}
_SMALL100: dict[str, Any] = {**_SMALL, 'num_classes': 100}
_BY_STEP: dict[str, Any] = {'gate_threshold': 1.0}
_EVENTS: dict[str, Any] = {'embed_dim': 256, 'depth': 2, 'in_chans': 2, 'clips': True}


@register_model
def sdt_8_384(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spike-driven Transformer 8-384, 16.8 M parameters, 18.5 G MACs at 224 x 224."""
    return _sdt('sdt_8_384', pretrained, **{'embed_dim': 384, 'depth': 8, **kwargs})


@register_model
def sdt_6_512(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spike-driven Transformer 6-512, 23.4 M parameters, 27.9 G MACs at 224 x 224."""
    return _sdt('sdt_6_512', pretrained, **{'embed_dim': 512, 'depth': 6, **kwargs})


@register_model
def sdt_8_512(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spike-driven Transformer 8-512, 29.7 M parameters, 32.9 G MACs at 224 x 224."""
    return _sdt('sdt_8_512', pretrained, **{'embed_dim': 512, 'depth': 8, **kwargs})


@register_model
def sdt_10_512(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spike-driven Transformer 10-512, 36.0 M parameters, 37.8 G MACs at 224 x 224."""
    return _sdt('sdt_10_512', pretrained, **{'embed_dim': 512, 'depth': 10, **kwargs})


@register_model
def sdt_8_768(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spike-driven Transformer 8-768, 66.3 M parameters, 73.8 G MACs at 224 x 224."""
    return _sdt('sdt_8_768', pretrained, **{'embed_dim': 768, 'depth': 8, **kwargs})


@register_model
def sdt_2_256_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spike-driven Transformer 2-256 for CIFAR-10, 2.6 M parameters, 1.2 G MACs at 32 x 32."""
    return _sdt('sdt_2_256_cifar', pretrained, **{**_SMALL, 'embed_dim': 256, **kwargs})


@register_model
def sdt_2_512_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spike-driven Transformer 2-512 for CIFAR-10, 10.2 M parameters, 4.9 G MACs at 32 x 32."""
    return _sdt('sdt_2_512_cifar', pretrained, **{**_SMALL, 'embed_dim': 512, **kwargs})


@register_model
def sdt_2_256_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spike-driven Transformer 2-256 for CIFAR-100, 2.6 M parameters, 1.2 G MACs at 32 x 32."""
    return _sdt('sdt_2_256_cifar100', pretrained, **{**_SMALL100, 'embed_dim': 256, **kwargs})


@register_model
def sdt_2_512_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spike-driven Transformer 2-512 for CIFAR-100, 10.3 M parameters, 4.9 G MACs at 32 x 32."""
    return _sdt('sdt_2_512_cifar100', pretrained, **{**_SMALL100, 'embed_dim': 512, **kwargs})


@register_model
def sdt_2_256_cifar10dvs(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spike-driven Transformer 2-256 for clips of CIFAR10-DVS, 2.6 M parameters, 12.4 G MACs at 64 x 64."""
    events = {**_EVENTS, **_TWO_POOLS, 'spread_heads': 8, 'num_steps': 10, 'img_size': 64, 'num_classes': 10}
    return _sdt('sdt_2_256_cifar10dvs', pretrained, **{**events, **kwargs})


@register_model
def sdt_2_256_dvsgesture(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spike-driven Transformer 2-256 for clips of DVS128 Gesture, 2.6 M parameters, 23.6 G MACs at 128 x 128."""
    pools = (False, True, True, True)
    events = {**_EVENTS, 'pools': pools, 'num_steps': 16, 'img_size': 128, 'num_classes': 11}
    return _sdt('sdt_2_256_dvsgesture', pretrained, **{**events, **kwargs})


@register_model
def sdt_imagenet(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """STEP's Spike-driven Transformer 8-512 at stride 4, 29.7 M parameters, 479.7 G MACs at 224 x 224."""
    return _sdt('sdt_imagenet', pretrained, **{**_TWO_POOLS, **_BY_STEP, 'embed_dim': 512, 'depth': 8, **kwargs})


@register_model
def sdt_imagenet_384(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """STEP's Spike-driven Transformer 8-384 at stride 4, 16.8 M parameters, 270.1 G MACs at 224 x 224."""
    return _sdt('sdt_imagenet_384', pretrained, **{**_TWO_POOLS, **_BY_STEP, 'embed_dim': 384, 'depth': 8, **kwargs})


@register_model
def sdt_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """STEP's Spike-driven Transformer 2-512 for CIFAR-10, 10.2 M parameters, 4.9 G MACs at 32 x 32."""
    return _sdt('sdt_cifar', pretrained, **{**_SMALL, **_BY_STEP, 'embed_dim': 512, **kwargs})


@register_model
def sdt_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """STEP's Spike-driven Transformer 2-512 for CIFAR-100, 10.3 M parameters, 4.9 G MACs at 32 x 32."""
    return _sdt('sdt_cifar100', pretrained, **{**_SMALL100, **_BY_STEP, 'embed_dim': 512, **kwargs})


@register_model
def sdt_cifar_384(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """STEP's Spike-driven Transformer 2-384 for CIFAR-10, 5.8 M parameters, 2.8 G MACs at 32 x 32."""
    return _sdt('sdt_cifar_384', pretrained, **{**_SMALL, **_BY_STEP, 'embed_dim': 384, **kwargs})
