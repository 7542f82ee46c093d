"""SGLFormer: a spiking transformer whose first block sees near positions, by depthwise convolutions and by attention
inside sub-grids, before the others attend to the whole map.

Paper: SGLFormer: Spiking Global-Local-Fusion Transformer with high performance, doi 10.3389/fnins.2024.1371290.
Code: ZhangHanN1/SGLFormer@4821b13, MIT.
Differs: The repository has two stems for ImageNet, `ima`, which halves the map behind each of its first four
    convolutions, and `ima2`, which does behind each of its last four; its README gives the starred rows of its table,
    8-512* and 8-768*, to `ima` and 8-512 to `ima2`. "8" is one block with a local part and six without. Published
    checkpoints of ImageNet hold two layer norms for each block that nothing uses: they are dropped, and the published
    counts of parameters include them. The classifier of CIFAR weights each of 8 x 8 positions and T steps: other maps
    are averaged into 8 x 8 cells first and its weights are averaged for other T, both exact where the published code
    runs. In the blocks of ImageNet the code gives the neurons behind the attention T * B steps of one sequence, so that
    images of a batch change each other. The published models were made so, and so are these; `mixed_batch=False` keeps
    images apart. For a batch of one they are the same. Sub-grids of odd maps are filled up with zeros behind the
    neurons, which adds nothing to any sum. Stochastic depth is ours; the code declares it and does not use it. STEP's
    sglformer_cifar is left out: docs/spiking.md.

Shapes: T time steps, B batch, TB maps with the step slowest, C channels, H and W height and width of the map.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath, calculate_drop_path_rates, trunc_normal_
from timm.models import generate_default_cfgs, register_model
from torch import nn

from ..base import Stage, StagedBackbone
from ..build import create
from ..keys import check_fit, is_ours, join, moves, rename, unwrap
from ..layers import (
    LIF,
    MixedLIF,
    Neuron,
    Repeat,
    SpikingConv,
    SpikingMlp,
    SpikingSelfAttention,
    StepPool,
    split_stem,
    stem_levels,
    sub_grids,
    whole_grid,
)

__all__ = ['SglFormer']


class LocalAttention(SpikingSelfAttention):
    """Self-attention of spikes inside four sub-grids, each of every second row and column.

    Shape:
        (TB, C, H, W) -> (TB, C, H, W)

    Source: ZhangHanN1/SGLFormer@4821b13:cifar10/sglformer.py:LocalSSA
    """

    def product(self, spikes: torch.Tensor) -> torch.Tensor:
        return whole_grid(super().product(sub_grids(spikes)), *spikes.shape[2:])


class LocalMixer(nn.Module):
    """Depthwise convolutions around and inside a channel mixer.

    y = x + DW(x);  z = y + W_2 DW(W_1 y), a batch norm and a neuron behind each convolution

    Args:
        dim: Channels C; 4 C inside.
        neuron: Makes a neuron.

    Shape:
        (TB, C, H, W) -> (TB, C, H, W)

    Source: ZhangHanN1/SGLFormer@4821b13:cifar10/sglformer.py:LocalBlock
    """

    def __init__(self, dim: int, neuron: Callable[..., Neuron], **dd: Any) -> None:
        super().__init__()
        hidden = 4 * dim
        self.near = SpikingConv(dim, dim, neuron, groups=dim, **dd)
        self.expand = SpikingConv(dim, hidden, neuron, 1, **dd)
        self.spread = SpikingConv(hidden, hidden, neuron, groups=hidden, **dd)
        self.reduce = SpikingConv(hidden, dim, neuron, 1, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.near(x)
        return x + self.reduce(self.spread(self.expand(x)))


class Block(nn.Module):
    """Attention and channel mixer in residual branches, behind local mixing in the first block.

    x = x + Local(x);  x = x + neuron(SSA(x));  x = x + MLP(x)

    What is added are spikes, so that maps hold whole numbers.

    Args:
        attn: Attention.
        mlp: Channel mixer.
        neuron: Neuron behind the attention.
        local: Local mixing, if any.
        drop_path: Rate of stochastic depth.

    Shape:
        (TB, C, H, W) -> (TB, C, H, W)

    Source: ZhangHanN1/SGLFormer@4821b13:imagenet/sglformer_ima.py:LocalBlock,Block
    """

    def __init__(
        self,
        attn: SpikingSelfAttention,
        mlp: SpikingMlp,
        neuron: Neuron,
        local: LocalMixer | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.local, self.attn, self.neuron, self.mlp = local, attn, neuron, mlp
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.local is not None:
            x = x + self.drop_path(self.local(x))
        x = x + self.drop_path(self.neuron(self.attn(x)))
        return x + self.drop_path(self.mlp(x))


class SglFormer(StagedBackbone):
    """SGLFormer; feature levels are two maps of the stem, at half and a quarter of the last stride, and the last block.

    Args:
        embed_dim: Channels D of the blocks.
        depth: Blocks behind the first one.
        num_heads: Heads, which divide D.
        mlp_ratio: Hidden width of the channel mixers, as a multiple of D.
        stem_dims: Channels behind each convolution of the stem; the last is D.
        pools: Which convolutions of the stem, counted from 0, halve the map.
        bias: Whether the convolutions behind the attention and of the channel mixers have biases, the first block's
            excepted.
        step_pool: Whether the classifier weights 8 x 8 positions and each time step instead of averaging them;
            `global_pool='avg'` then stands for it, and any other pooling replaces it.
        mixed_batch: Whether neurons behind the attention take the images of a batch for further time steps, the first
            block's excepted, as the published code of ImageNet does: what an image gives then depends on the others.
        num_steps: T. With `step_pool` there are weights for each of them, which are averaged when `set_num_steps` asks
            for another number.
        img_size: Side or (height, width) in pixels; no weight depends on it, any other size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth at the last block, growing linearly from 0 (published: 0).

    Raises:
        ValueError: The stem does not end in D channels or lacks what is to be pooled, heads do not divide D, or a count
            is less than 1.

    Source: ZhangHanN1/SGLFormer@4821b13
    """

    def __init__(
        self,
        embed_dim: int = 384,
        depth: int = 6,
        num_heads: int = 6,
        mlp_ratio: float = 4.0,
        stem_dims: Sequence[int] = (48, 96, 192, 384, 384),
        pools: Sequence[int] = (0, 1, 2, 3),
        bias: bool = True,
        step_pool: bool = False,
        mixed_batch: bool = False,
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
        _check(embed_dim, depth, stem_dims)
        levels, strides = stem_levels(len(stem_dims), pools)
        super().__init__(
            num_classes=num_classes,
            in_chans=in_chans,
            global_pool=global_pool,
            drop_rate=drop_rate,
            img_size=img_size,
            num_steps=num_steps,
            stem_taps=levels[:1],
        )
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        neuron = partial(LIF, num_steps)
        layers: list[nn.Module] = []
        for i, (below, dim) in enumerate(zip((in_chans, *stem_dims), stem_dims, strict=False)):
            pool, repeat = 'membrane' if i in pools else None, None if i else Repeat(num_steps)
            layers.append(SpikingConv(below, dim, neuron, pool=pool, repeat=repeat, **dd))
        blocks: list[nn.Module] = []
        rates: Any = calculate_drop_path_rates(drop_path_rate, depth + 1)
        for i, rate in enumerate(rates):
            attention, biased = (SpikingSelfAttention, bias) if i else (LocalAttention, False)
            attn = attention(embed_dim, num_heads, neuron, proj_bias=biased, **dd)
            mlp = SpikingMlp(embed_dim, int(embed_dim * mlp_ratio), neuron, first=False, bias=biased, **dd)
            local = None if i else LocalMixer(embed_dim, neuron, **dd)
            behind = MixedLIF(num_steps) if mixed_batch and i else neuron()
            blocks.append(Block(attn, mlp, behind, local, rate))
        (self.stem, *pieces), self.stem_names = split_stem(layers, levels)
        self.stages = nn.Sequential(*(Stage(piece, blocks if piece is pieces[-1] else ()) for piece in pieces))
        modules = [f'stem.{levels[0]}', *(f'stages.{i}' for i in range(len(pieces)))]
        for layer, module in zip((*levels, -1), modules, strict=True):
            self.feature_info.append({'num_chs': stem_dims[layer], 'reduction': strides[layer], 'module': module})
        self.step_pool = step_pool
        self.head_pool: nn.Module = nn.Identity()
        self._finish(**dd)

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Linear layers: normal, cut at two, with standard deviation 0.02, and zero biases."""
        if isinstance(module, nn.Linear):
            trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """The image itself: the stem repeats what its first convolution makes of it."""
        return x

    def reset_classifier(self, num_classes: int, global_pool: str | None = None, device=None, dtype=None) -> None:
        """As `StagedBackbone`; learned weights of positions and steps stay while the pooling does."""
        super().reset_classifier(num_classes, global_pool, device, dtype)
        self.head_steps = self.step_pool and self._pool_name == 'avg'
        if self.head_steps and not isinstance(self.head_pool, StepPool):
            like: Any = next(self.parameters())
            dd: dict[str, Any] = {'device': device or like.device, 'dtype': dtype or like.dtype}
            self.head_pool = StepPool(self.num_features, self.num_steps, **dd).train(self.training)
        elif not self.head_steps:
            self.head_pool = nn.Identity()

    def head_of_steps(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Pool over positions and steps at once, drop and classify."""
        x = F.dropout(self.head_pool(x), self.drop_rate, self.training)
        return x if pre_logits else self.head(x)


def _check(embed_dim: int, depth: int, stem_dims: Sequence[int]) -> None:
    if min(embed_dim, depth, *stem_dims) < 1 or list(stem_dims)[-1:] != [embed_dim]:
        raise ValueError(
            'SGLFormer needs a depth and widths of at least 1, and a stem that ends in embed_dim channels, but got '
            f'depth={depth}, embed_dim={embed_dim} and stem_dims={tuple(stem_dims)}.'
        )


def _unit(source: str, conv: str, target: str) -> dict[str, str | None]:
    """Rows of a published convolution and its norm."""
    return {f'{source}.{conv}.{{p}}': f'{target}.conv.{{p}}', f'{source}.bn.{{p}}': f'{target}.norm.{{p}}'}


def _pair(source: str, target: str) -> dict[str, str | None]:
    """Rows of a convolution and a norm whose published names end in `_conv` and `_bn`."""
    return {f'{source}_conv.{{p}}': f'{target}.conv.{{p}}', f'{source}_bn.{{p}}': f'{target}.norm.{{p}}'}


def _local(source: str) -> dict[str, str | None]:
    return {
        **_unit(f'{source}.conv', 'conv3x3', 'stages.1.blocks.0.local.near.conv'),
        **_unit(f'{source}.conv1x1_1', 'conv1x1', 'stages.1.blocks.0.local.expand.conv'),
        **_unit(f'{source}.dwconv3x3', 'conv3x3', 'stages.1.blocks.0.local.spread.conv'),
        **_unit(f'{source}.conv1x1_2', 'conv1x1', 'stages.1.blocks.0.local.reduce.conv'),
    }


KEYS: dict[str, str | None] = {
    # CIFAR: what are three blocks here is one there
    **_unit('stem.conv', 'conv3x3', 'stem.0.conv'),
    **_unit('tokenizer.conv{n}', 'conv3x3', 'stem.{n}.conv'),
    **_local('blocks.0.loc'),
    **_unit('blocks.0.ssa{b}.{part}_conv', 'conv1x1', 'stages.1.blocks.{b-1}.attn.{part}'),
    **_unit('blocks.0.mlp{b}.mlp{n}', 'conv1x1', 'stages.1.blocks.{b-1}.mlp.fc{n}'),
    'full_size_conv.{p}': 'head_pool.{p}',
    'bn.{p}': 'head_pool.norm.{p}',
    # ImageNet
    **_pair('patch_embed.proj', 'stem.0.conv'),
    **_pair('patch_embed.proj{n}', 'stem.{n}.conv'),
    **_local('localblock.0.local1'),
    **_unit('localblock.0.local2_SSA.{part}_conv', 'conv1x1', 'stages.1.blocks.0.attn.{part}'),
    **_unit('localblock.0.local2_MLP.mlp{n}', 'conv1x1', 'stages.1.blocks.0.mlp.fc{n}'),
    **_pair('blocks.{b}.attn.{part}', 'stages.1.blocks.{b+1}.attn.{part}'),
    **_pair('blocks.{b}.mlp.fc{n}', 'stages.1.blocks.{b+1}.mlp.fc{n}'),
    'blocks.{b}.norm1.{p}': None,  # layer norms that nothing uses
    'blocks.{b}.norm2.{p}': None,
    'head.{p}': 'head.{p}',
}

JOIN = {'{block...}.attn.qkv.{p...}': [f'{{block...}}.attn.{part}.{{p...}}' for part in 'qkv']}


def checkpoint_filter_fn(checkpoint: Mapping, model: SglFormer) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes."""
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        state = rename(join(rename(state, KEYS), JOIN), moves(model.stem_names))
        state = {key: value[..., None] if value.ndim == 3 else value for key, value in state.items()}
        if 'head_pool.weight' in state:  # C 1 positions T -> T positions C
            state['head_pool.weight'] = state['head_pool.weight'].squeeze(1).permute(2, 1, 0).contiguous()
    if not model.head_steps:
        state = {key: value for key, value in state.items() if not key.startswith('head_pool.')}
    return check_fit(model, state, adapt=('head.weight', 'head.bias', 'stem.0.conv.conv'))


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        'num_classes': 1000,
        'input_size': (3, 224, 224),
        'pool_size': (14, 14),
        'crop_pct': 0.875,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.0.conv.conv',
        'classifier': 'head',
        'license': 'mit',
        'origin_url': 'https://github.com/ZhangHanN1/SGLFormer',
        'paper_name': 'SGLFormer: Spiking Global-Local-Fusion Transformer with high performance',
        'paper_ids': 'doi:10.3389/fnins.2024.1371290',
        **kwargs,
    }


def _cifar(num_classes: int) -> dict[str, Any]:
    """With the mean and deviation of CIFAR-10, which the authors took for CIFAR-100 too."""
    norm = {'mean': (0.4914, 0.4822, 0.4465), 'std': (0.2470, 0.2435, 0.2616)}
    return _cfg(num_classes=num_classes, input_size=(3, 32, 32), pool_size=(8, 8), crop_pct=1.0, **norm)


default_cfgs = generate_default_cfgs(
    {
        'sglformer_4_384_cifar.pku_cifar10': _cifar(10),
        'sglformer_4_384_cifar100.pku_cifar100': _cifar(100),
        **{f'sglformer_ima_8_{dim}.pku_in1k': _cfg() for dim in (384, 512, 768)},
        **{f'sglformer_ima2_8_{dim}.pku_in1k': _cfg() for dim in (384, 512, 768)},
    }
)


def _sglformer_cifar(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    numbers = {
        'embed_dim': 384,
        'depth': 2,
        'num_heads': 16,
        'stem_dims': (64, 96, 192, 384, 384),
        'pools': (3, 4),
        'bias': False,
        'step_pool': True,
        'img_size': 32,
    }
    return create(SglFormer, variant, pretrained, checkpoint_filter_fn, **{**numbers, **kwargs})


def _sglformer_ima(variant: str, pretrained: bool, embed_dim: int, **kwargs: Any) -> nn.Module:
    numbers = {
        'embed_dim': embed_dim,
        'num_heads': embed_dim // 64,
        'mixed_batch': True,
        'stem_dims': tuple(embed_dim // part for part in (8, 4, 2, 1, 1)),
    }
    return create(SglFormer, variant, pretrained, checkpoint_filter_fn, **{**numbers, **kwargs})


@register_model
def sglformer_4_384_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SGLFormer-4-384 for CIFAR-10, 8.9 M parameters, 6.7 G MACs at 32 x 32."""
    return _sglformer_cifar('sglformer_4_384_cifar', pretrained, **{'num_classes': 10, **kwargs})


@register_model
def sglformer_4_384_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SGLFormer-4-384 for CIFAR-100, 8.9 M parameters, 6.7 G MACs at 32 x 32."""
    return _sglformer_cifar('sglformer_4_384_cifar100', pretrained, **{'num_classes': 100, **kwargs})


@register_model
def sglformer_ima_8_384(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SGLFormer-8-384 whose stem halves early, 16.2 M parameters, 18.3 G MACs at 224 x 224."""
    numbers = {'embed_dim': 384, 'pools': (0, 1, 2, 3)}
    return _sglformer_ima('sglformer_ima_8_384', pretrained, **{**numbers, **kwargs})


@register_model
def sglformer_ima_8_512(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SGLFormer-8-512 whose stem halves early, 28.7 M parameters, 32.4 G MACs at 224 x 224."""
    numbers = {'embed_dim': 512, 'pools': (0, 1, 2, 3)}
    return _sglformer_ima('sglformer_ima_8_512', pretrained, **{**numbers, **kwargs})


@register_model
def sglformer_ima_8_768(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SGLFormer-8-768 whose stem halves early, 64.0 M parameters, 72.5 G MACs at 224 x 224."""
    numbers = {'embed_dim': 768, 'pools': (0, 1, 2, 3)}
    return _sglformer_ima('sglformer_ima_8_768', pretrained, **{**numbers, **kwargs})


@register_model
def sglformer_ima2_8_384(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SGLFormer-8-384 whose stem halves late, 16.2 M parameters, 40.2 G MACs at 224 x 224."""
    numbers = {'embed_dim': 384, 'pools': (1, 2, 3, 4)}
    return _sglformer_ima('sglformer_ima2_8_384', pretrained, **{**numbers, **kwargs})


@register_model
def sglformer_ima2_8_512(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SGLFormer-8-512 whose stem halves late, 28.7 M parameters, 71.3 G MACs at 224 x 224."""
    numbers = {'embed_dim': 512, 'pools': (1, 2, 3, 4)}
    return _sglformer_ima('sglformer_ima2_8_512', pretrained, **{**numbers, **kwargs})


@register_model
def sglformer_ima2_8_768(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SGLFormer-8-768 whose stem halves late, 64.0 M parameters, 160.0 G MACs at 224 x 224."""
    numbers = {'embed_dim': 768, 'pools': (1, 2, 3, 4)}
    return _sglformer_ima('sglformer_ima2_8_768', pretrained, **{**numbers, **kwargs})
