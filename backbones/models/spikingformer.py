"""Spikingformer: self-attention of spikes with shortcuts between membranes, so that every convolution but the first
sees spikes alone and no sum of them.

Paper: Spikingformer: Spike-driven Residual Learning for Transformer-based Spiking Neural Network, arXiv 2304.11954.
Code: zhouchenlin2096/Spikingformer@4378623, Apache-2.0; spikingformer_cifar and spikingformer_cifar100 follow the
    re-implementation in Fancyssc/STEP@c0b3193, no licence stated.
Differs: STEP's last convolution of the attention has no bias. The authors' checkpoints carry two layer norms in each
    block that are never used, and published parameter counts include them; here they are left out. The heads of the
    models of the authors' README without a configuration are those of their 4-384, 32 channels each. Published code
    takes maps that are multiples of the last stride, here any size works. What is the same at every step, the first
    convolution of an image, is computed once: in training its running variance then differs from that of the repeated
    batch by the unbiased estimate's factor. `drop_path_rate` is an argument of the code without effect.

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
from ..layers import LIF, ConvNorm, Neuron, Repeat, SpikingConv, SpikingMlp, SpikingSelfAttention

__all__ = ['Spikingformer']


class Block(nn.Module):
    """Self-attention and channel mixer of spikes, each with a shortcut between membranes.

    x = x + drop_path(SSA(neuron(x)));  y = x + drop_path(BN(W_2 neuron(BN(W_1 neuron(x)))))

    Args:
        dim: Channels.
        mixer: Self-attention, from spikes to what is added to the membrane.
        mlp_ratio: Hidden width of the channel mixer, as a multiple of the channels.
        neuron: Makes a neuron.
        drop_path: Rate at which a branch is left out, for each image and step.

    Shape:
        (T * B, C, H, W) -> (T * B, C, H, W)

    Source: zhouchenlin2096/Spikingformer@4378623:imagenet/model.py:SpikingTransformer, arXiv 2304.11954, section 4.2
    """

    def __init__(
        self,
        dim: int,
        mixer: SpikingSelfAttention,
        mlp_ratio: float,
        neuron: Callable[..., Neuron],
        drop_path: float = 0.0,
        **dd: Any,
    ) -> None:
        super().__init__()
        self.neuron = neuron()
        self.mixer = mixer
        self.mlp = SpikingMlp(dim, int(dim * mlp_ratio), neuron, first=True, **dd)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.drop_path(self.mixer(self.neuron(x)))
        return x + self.drop_path(self.mlp(x))


class Spikingformer(StagedBackbone):
    """Spikingformer: levels behind three convolutions of its tokenizer, and its blocks at one stride.

    Args:
        embed_dim: Channels of the blocks, a multiple of 8; the tokenizer has an eighth, a quarter and half of them.
        depth: Blocks.
        num_heads: Heads of the attention.
        mlp_ratio: Hidden width of the channel mixers, as a multiple of their channels.
        pools: Whether the spikes of each of the first four convolutions are pooled to half the size.
        proj_bias: Whether the last convolution of the attention has a bias.
        num_steps: Time steps T.
        img_size: Side or (height, width) in pixels; no weight depends on it, any other size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth at the last block, growing linearly from 0, for each image and step.

    Raises:
        ValueError: A width or depth that cannot be, heads that do not divide the width, or another number of poolings.

    Source: zhouchenlin2096/Spikingformer@4378623:imagenet/model.py:vit_snn
    """

    def __init__(
        self,
        embed_dim: int = 512,
        depth: int = 8,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        pools: Sequence[bool] = (True, True, True, True),
        proj_bias: bool = True,
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
            stem_taps=(1,),
        )
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        _check(embed_dim, depth, pools)
        neuron = partial(LIF, num_steps)
        dims = [embed_dim // 8, embed_dim // 4, embed_dim // 2, embed_dim]
        kinds: list[Any] = ['spikes' if pool else None for pool in pools]
        first = SpikingConv(in_chans, dims[0], neuron, pool=kinds[0], repeat=Repeat(num_steps), **dd)
        second, third, fourth = (
            SpikingConv(dims[i - 1], dims[i], neuron, pool=kinds[i], **dd) for i in range(1, len(dims))
        )
        rates: Any = calculate_drop_path_rates(drop_path_rate, depth)
        blocks = []
        for rate in rates:
            mixer = SpikingSelfAttention(embed_dim, num_heads, neuron, proj_bias=proj_bias, **dd)
            blocks.append(Block(embed_dim, mixer, mlp_ratio, neuron, rate, **dd))
        self.stem = nn.Sequential(first, second)
        last = nn.Sequential(fourth, ConvNorm(embed_dim, embed_dim, 3, **dd))  # its output is a membrane
        self.stages = nn.Sequential(Stage(third, ()), Stage(last, blocks))
        for i, module in enumerate(('stem.1', 'stages.0', 'stages.1'), start=1):
            self.feature_info.append({'num_chs': dims[i], 'reduction': 2 ** sum(pools[: i + 1]), 'module': module})
        self._finish(**dd)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """The image itself, which the stem repeats behind its first convolution."""
        return x

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Linear layers: normal, cut at two, with standard deviation 0.02, and zero biases."""
        if isinstance(module, nn.Linear):
            trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)


def _check(embed_dim: int, depth: int, pools: Sequence[bool]) -> None:
    if embed_dim < 8 or embed_dim % 8 or depth < 1 or len(pools) != 4:
        raise ValueError(
            'A Spikingformer needs an embed_dim that 8 divides, at least one block and four poolings, but got '
            f'embed_dim={embed_dim}, depth={depth} and pools={tuple(pools)}.'
        )


_PLACES = ('stem.0.conv', 'stem.1.conv', 'stages.0.downsample.conv', 'stages.1.downsample.0.conv')
_LAST = 'stages.1.downsample.1'
_BLOCK = 'block.{b}', 'stages.1.blocks.{b}'


def _tokenizer(convs: Sequence[str]) -> dict[str, str | None]:
    """Rows of the five convolutions of the tokenizer from the name of each, in which their norms say `bn`."""
    rows: dict[str, str | None] = {}
    for name, place in zip(convs, (*_PLACES, _LAST), strict=True):
        rows[f'patch_embed.{name}.{{p}}'] = f'{place}.conv.{{p}}'
        rows[f'patch_embed.{name.replace("conv", "bn")}.{{p}}'] = f'{place}.norm.{{p}}'
    return rows


KEYS: dict[str, str | None] = {
    # constants of STEP's neurons, and norms that are not used
    '{neuron...}.threshold': None,
    '{neuron...}.act_fun.alpha': None,
    f'{_BLOCK[0]}.norm1.{{p}}': None,
    f'{_BLOCK[0]}.norm2.{{p}}': None,
    # three layouts: STEP's, the authors' for ImageNet, and theirs for CIFAR
    **_tokenizer(['proj_conv', 'proj_conv1', 'proj_conv2', 'proj_conv3', 'rpe_conv']),
    **_tokenizer(['proj_conv', 'proj1_conv', 'proj2_conv', 'proj3_conv', 'proj4_conv']),
    **_tokenizer([f'block{i}_conv' for i in range(5)]),
    f'{_BLOCK[0]}.attn.{{x}}_conv.{{p}}': f'{_BLOCK[1]}.mixer.{{x}}.conv.{{p}}',
    f'{_BLOCK[0]}.attn.{{x}}_bn.{{p}}': f'{_BLOCK[1]}.mixer.{{x}}.norm.{{p}}',
    f'{_BLOCK[0]}.mlp.fc{{n}}_conv.{{p}}': f'{_BLOCK[1]}.mlp.fc{{n}}.conv.{{p}}',
    f'{_BLOCK[0]}.mlp.fc{{n}}_bn.{{p}}': f'{_BLOCK[1]}.mlp.fc{{n}}.norm.{{p}}',
    f'{_BLOCK[0]}.mlp.mlp{{n}}_conv.{{p}}': f'{_BLOCK[1]}.mlp.fc{{n}}.conv.{{p}}',
    f'{_BLOCK[0]}.mlp.mlp{{n}}_bn.{{p}}': f'{_BLOCK[1]}.mlp.fc{{n}}.norm.{{p}}',
    'head.{p}': 'head.{p}',
}
_JOINED = {'{at...}.qkv.{of...}': ('{at...}.q.{of...}', '{at...}.k.{of...}', '{at...}.v.{of...}')}


def checkpoint_filter_fn(checkpoint: Mapping, model: Spikingformer) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes.

    Published convolutions of tokens have kernels of one axis, (C, C', 1).
    """
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        state = join(rename(state, KEYS), _JOINED)
        state = {key: value[..., None] if value.ndim == 3 else value for key, value in state.items()}
    return check_fit(model, state, adapt=('head', 'stem.0.conv.conv'))


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        'num_classes': 1000,
        'input_size': (3, 224, 224),
        'pool_size': (14, 14),
        'crop_pct': 1.0,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.0.conv.conv',
        'classifier': 'head',
        'license': 'apache-2.0',
        'origin_url': 'https://github.com/zhouchenlin2096/Spikingformer',
        'paper_name': 'Spikingformer: Spike-driven Residual Learning for Transformer-based Spiking Neural Network',
        'paper_ids': 'arXiv:2304.11954',
        **kwargs,
    }


_STEP: dict[str, Any] = {'license': 'unknown', 'origin_url': 'https://github.com/Fancyssc/STEP'}
# CIFAR-100 was trained with the mean and deviation of CIFAR-10
_CIFAR10: dict[str, Any] = {
    'input_size': (3, 32, 32),
    'pool_size': (8, 8),
    'num_classes': 10,
    'mean': (0.4914, 0.4822, 0.4465),
    'std': (0.2470, 0.2435, 0.2616),
}
_CIFAR100: dict[str, Any] = {**_CIFAR10, 'num_classes': 100}

# no published file has an address that a program can fetch: checkpoints/index.yaml says where they lie
default_cfgs = generate_default_cfgs(
    {
        'spikingformer_8_384.zcl_in1k': _cfg(),
        'spikingformer_8_512.zcl_in1k': _cfg(),
        'spikingformer_8_768.zcl_in1k': _cfg(),
        'spikingformer_4_256_cifar.zcl_cifar10': _cfg(**_CIFAR10),
        'spikingformer_2_384_cifar.zcl_cifar10': _cfg(**_CIFAR10),
        'spikingformer_4_384_cifar.zcl_cifar10': _cfg(**_CIFAR10),
        'spikingformer_4_256_cifar100.zcl_cifar100': _cfg(**_CIFAR100),
        'spikingformer_2_384_cifar100.zcl_cifar100': _cfg(**_CIFAR100),
        'spikingformer_4_384_cifar100.zcl_cifar100': _cfg(**_CIFAR100),
        'spikingformer_cifar.step_cifar10': _cfg(**_CIFAR10, **_STEP),
        'spikingformer_cifar100.step_cifar100': _cfg(**_CIFAR100, **_STEP),
    }
)


def _spikingformer(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(Spikingformer, variant, pretrained, checkpoint_filter_fn, **kwargs)


_SMALL: dict[str, Any] = {'pools': (False, False, True, True), 'img_size': 32, 'num_classes': 10}
_SMALL100: dict[str, Any] = {**_SMALL, 'num_classes': 100}
_4_384: dict[str, Any] = {'embed_dim': 384, 'depth': 4, 'num_heads': 12}
_2_384: dict[str, Any] = {**_4_384, 'depth': 2}
_4_256: dict[str, Any] = {'embed_dim': 256, 'depth': 4, 'num_heads': 8}


@register_model
def spikingformer_8_384(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikingformer 8-384, 16.8 M parameters, 18.7 G MACs at 224 x 224."""
    return _spikingformer('spikingformer_8_384', pretrained, **{'embed_dim': 384, **kwargs})


@register_model
def spikingformer_8_512(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikingformer 8-512, 29.7 M parameters, 33.3 G MACs at 224 x 224."""
    return _spikingformer('spikingformer_8_512', pretrained, **{'embed_dim': 512, **kwargs})


@register_model
def spikingformer_8_768(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikingformer 8-768, 66.3 M parameters, 74.7 G MACs at 224 x 224."""
    return _spikingformer('spikingformer_8_768', pretrained, **{'embed_dim': 768, **kwargs})


@register_model
def spikingformer_4_256_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikingformer 4-256 for CIFAR-10, 4.2 M parameters, 1.7 G MACs at 32 x 32."""
    return _spikingformer('spikingformer_4_256_cifar', pretrained, **{**_SMALL, **_4_256, **kwargs})


@register_model
def spikingformer_2_384_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikingformer 2-384 for CIFAR-10, 5.8 M parameters, 2.8 G MACs at 32 x 32."""
    return _spikingformer('spikingformer_2_384_cifar', pretrained, **{**_SMALL, **_2_384, **kwargs})


@register_model
def spikingformer_4_384_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikingformer 4-384 for CIFAR-10, 9.3 M parameters, 3.7 G MACs at 32 x 32."""
    return _spikingformer('spikingformer_4_384_cifar', pretrained, **{**_SMALL, **_4_384, **kwargs})


@register_model
def spikingformer_4_256_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikingformer 4-256 for CIFAR-100, 4.2 M parameters, 1.7 G MACs at 32 x 32."""
    return _spikingformer('spikingformer_4_256_cifar100', pretrained, **{**_SMALL100, **_4_256, **kwargs})


@register_model
def spikingformer_2_384_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikingformer 2-384 for CIFAR-100, 5.8 M parameters, 2.8 G MACs at 32 x 32."""
    return _spikingformer('spikingformer_2_384_cifar100', pretrained, **{**_SMALL100, **_2_384, **kwargs})


@register_model
def spikingformer_4_384_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikingformer 4-384 for CIFAR-100, 9.4 M parameters, 3.7 G MACs at 32 x 32."""
    return _spikingformer('spikingformer_4_384_cifar100', pretrained, **{**_SMALL100, **_4_384, **kwargs})


@register_model
def spikingformer_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """STEP's Spikingformer 4-384 for CIFAR-10, 9.3 M parameters, 3.7 G MACs at 32 x 32."""
    args = {**_SMALL, **_4_384, 'proj_bias': False}
    return _spikingformer('spikingformer_cifar', pretrained, **{**args, **kwargs})


@register_model
def spikingformer_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """STEP's Spikingformer 4-384 for CIFAR-100, 9.4 M parameters, 3.7 G MACs at 32 x 32."""
    args = {**_SMALL100, **_4_384, 'proj_bias': False}
    return _spikingformer('spikingformer_cifar100', pretrained, **{**args, **kwargs})
