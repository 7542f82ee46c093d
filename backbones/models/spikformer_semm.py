"""Spikformer with experts: attention whose queries belong to experts that share keys and values, and a router of spikes
that lets each expert speak at some positions; channel mixers in which one half of the channels gates the other.

Paper: Spiking Transformer with Experts Mixture, NeurIPS 2024 (OpenReview WcIeEtY3AG).
Code: Fancyssc/STEP@c0b3193, no licence; the authors' own code was not found.
Differs: What the weights mean is what STEP computes. Its CIFAR form reads the router's map of E experts x N positions
    as one of N positions x E experts without turning it (`flat_router`). Its ImageNet form has no norm behind the
    projections to keys and values and no scale; its checkpoints hold those norms, which nothing uses, and so do its
    counts of parameters. It averages the features of a batch before its classifier, so that all images get one answer;
    here each image has its own, the same for a batch of one. Positions are any number, not 8 x 8 alone. Products are
    taken in the order that needs no map of positions by positions, which is exact as they are whole numbers. Stochastic
    depth is ours.

Shapes: T time steps, B batch, TB maps with the step slowest, C channels, d channels of queries and keys, E experts,
    H and W height and width of the map, N = H W positions.
"""

from collections import OrderedDict
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
from ..keys import check_fit, is_ours, join, moves, rename, unwrap
from ..layers import LIF, ConvNorm, Neuron, Repeat, SpikingConv, free_reshape, free_transpose, split_stem, stem_levels

__all__ = ['SpikformerSemm']


class ExpertAttention(nn.Module):
    """Self-attention of experts that share keys and values, and of which a router lets some pass at each position.

    r_e = neuron(scale q_e k^T v);  y = neuron(BN(W (sum over e of w_e r_e)))

    q_e, k, v and the router's w are spikes of x: neuron(BN(W x)).

    Args:
        dim: Channels C.
        expert_dim: Channels d of queries and keys.
        num_experts: Experts E.
        neuron: Makes a neuron.
        scale: Factor of the product.
        bias: Whether the projections to q, k and v have biases.
        kv_norm: Whether batch norms stand behind the projections to k and v.
        flat_router: Whether the router's values, E x N in their order, are read as N x E.

    Shape:
        (TB, C, H, W) -> (TB, C, H, W)

    Source: Fancyssc/STEP@c0b3193:cls/models/static/spikf_semm_cifar.py:SSA
    """

    def __init__(
        self,
        dim: int,
        expert_dim: int,
        num_experts: int,
        neuron: Callable[..., Neuron],
        scale: float,
        bias: bool,
        kv_norm: bool,
        flat_router: bool,
        **dd: Any,
    ) -> None:
        super().__init__()
        self.widths, self.num_experts = (expert_dim, dim), num_experts
        self.scale, self.flat_router = scale, flat_router
        self.q, self.q_neuron = ConvNorm(dim, num_experts * expert_dim, bias=bias, **dd), neuron()
        if kv_norm:
            self.kv: nn.Module = ConvNorm(dim, expert_dim + dim, bias=bias, **dd)
        else:
            self.kv = nn.Sequential(OrderedDict(conv=nn.Conv2d(dim, expert_dim + dim, 1, bias=bias, **dd)))
        self.kv_neuron = neuron()
        self.router, self.router_neuron = ConvNorm(dim, num_experts, bias=True, **dd), neuron()
        self.expert_neuron = neuron()
        self.proj = SpikingConv(dim, dim, neuron, 1, bias=True, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, kv = self.q_neuron(self.q(x)), self.kv_neuron(self.kv(x))
        spikes = self.expert_neuron(self.attend(q, kv)).chunk(self.num_experts, 1)
        gates = self.gates(self.router_neuron(self.router(x))).chunk(self.num_experts, 1)
        y = spikes[0] * gates[0]
        for spike, gate in zip(spikes[1:], gates[1:], strict=True):
            y = torch.addcmul(y, spike, gate)
        return self.proj(y)

    def attend(self, q: torch.Tensor, kv: torch.Tensor) -> torch.Tensor:
        """scale q_e k^T v of all experts: (TB, E d, H, W), (TB, d + C, H, W) -> (TB, E C, H, W)"""
        count, _, height, width = q.shape
        (d, dim), experts, positions = self.widths, self.num_experts, height * width
        q = free_reshape(q, count, experts, d, positions)
        k, v = free_reshape(kv, count, 1, d + dim, positions).split(self.widths, 2)
        y = (v @ k.transpose(2, 3) * self.scale) @ q  # TB E C N
        return free_reshape(y, count, experts * dim, height, width)

    def gates(self, w: torch.Tensor) -> torch.Tensor:
        """The router's spikes, (TB, E, H, W), as the experts' gates."""
        if not self.flat_router:
            return w
        count, experts, height, width = w.shape
        return free_transpose(w, (count, height * width, experts, 1), w.shape)


class ExpertMlp(nn.Module):
    """Channel mixer whose hidden channels are two halves: one, convolved, lets the other pass.

    h_1, h_2 = neuron(BN(W_1 x));  y = neuron(BN(W_2 (neuron(BN(DW h_1)) h_2)))

    Args:
        dim: Channels C.
        hidden_dim: Channels of both halves together.
        neuron: Makes a neuron.
        spread_bias: Whether the depthwise convolution has a bias.

    Shape:
        (TB, C, H, W) -> (TB, C, H, W)

    Source: Fancyssc/STEP@c0b3193:cls/models/static/spikf_semm_cifar.py:MLP
    """

    def __init__(self, dim: int, hidden_dim: int, neuron: Callable[..., Neuron], spread_bias: bool, **dd: Any) -> None:
        super().__init__()
        half = hidden_dim // 2
        self.fc1 = SpikingConv(dim, hidden_dim, neuron, 1, bias=True, **dd)
        self.spread = SpikingConv(half, half, neuron, groups=half, bias=spread_bias, **dd)
        self.fc2 = SpikingConv(half, dim, neuron, 1, bias=True, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, x = self.fc1(x).chunk(2, 1)
        return self.fc2(self.spread(gate) * x)


class Block(nn.Module):
    """x = x + EMSA(x);  x = x + EMSP(x): what is added are spikes, so that maps hold whole numbers.

    Args:
        attn: Attention of experts.
        mlp: Channel mixer.
        drop_path: Rate of stochastic depth.

    Shape:
        (TB, C, H, W) -> (TB, C, H, W)
    """

    def __init__(self, attn: ExpertAttention, mlp: ExpertMlp, drop_path: float = 0.0) -> None:
        super().__init__()
        self.attn, self.mlp = attn, mlp
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.drop_path(self.attn(x))
        return x + self.drop_path(self.mlp(x))


class Position(SpikingConv):
    """Position code that depends on the map: y = x + neuron(BN(W * x)).

    Shape:
        (TB, C, H, W) -> (TB, C, H, W)
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


class SpikformerSemm(StagedBackbone):
    """Spikformer with experts; feature levels are two maps of the stem, at half and a quarter of the last stride, and
    the last block.

    Args:
        embed_dim: Channels D of the blocks; the stem has D / 8, D / 4, D / 2 and D.
        depth: Blocks.
        expert_dim: Channels of queries and keys.
        num_experts: Experts.
        mlp_dim: Hidden channels of the channel mixers, an even number.
        pools: Which convolutions of the stem, counted from 0, halve the map behind their neuron.
        scale: Factor of the attention.
        kv_norm: Whether batch norms stand behind the projections to keys and values.
        flat_router: Whether the router's values, experts x positions in their order, are read as positions x experts.
        linear: Whether projections are what linear layers are: q, k and v with biases, and all of them initialised as
            such; the depthwise convolutions then have none.
        num_steps: T.
        img_size: Side or (height, width) in pixels; no weight depends on it, any other size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth at the last block, growing linearly from 0 (published: 0).

    Raises:
        ValueError: D is no multiple of 8, `mlp_dim` is odd, a count is less than 1, or a pool belongs to no layer.

    Source: Fancyssc/STEP@c0b3193:cls/models/static/spikf_semm_cifar.py,spikf_semm_imagenet.py
    """

    def __init__(
        self,
        embed_dim: int = 512,
        depth: int = 8,
        expert_dim: int = 96,
        num_experts: int = 4,
        mlp_dim: int = 2720,
        pools: Sequence[int] = (0, 1, 2, 3),
        scale: float = 1.0,
        kv_norm: bool = False,
        flat_router: bool = False,
        linear: bool = False,
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
        if embed_dim % 8 or mlp_dim % 2 or min(embed_dim, depth, expert_dim, num_experts, mlp_dim) < 1:
            raise ValueError(
                'embed_dim must be a multiple of 8, mlp_dim one of 2, and depth, expert_dim and num_experts at least '
                f'1, but got embed_dim={embed_dim}, mlp_dim={mlp_dim}, depth={depth}, expert_dim={expert_dim} and '
                f'num_experts={num_experts}.'
            )
        widths = [embed_dim // part for part in (8, 4, 2, 1)]
        levels, strides = stem_levels(len(widths), pools)
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
        self.num_experts, self.kv_norm, self.linear = num_experts, kv_norm, linear
        layers: list[nn.Module] = []
        for i, (below, width) in enumerate(zip((in_chans, *widths), widths, strict=False)):
            pool, repeat = 'spikes' if i in pools else None, None if i else Repeat(num_steps)
            layers.append(SpikingConv(below, width, neuron, pool=pool, repeat=repeat, **dd))
        layers.append(Position(embed_dim, embed_dim, neuron, **dd))
        blocks: list[nn.Module] = []
        rates: Any = calculate_drop_path_rates(drop_path_rate, depth)
        for rate in rates:
            attn = ExpertAttention(
                embed_dim, expert_dim, num_experts, neuron, scale, linear, kv_norm, flat_router, **dd
            )
            blocks.append(Block(attn, ExpertMlp(embed_dim, mlp_dim, neuron, not linear, **dd), rate))
        (self.stem, *pieces), self.stem_names = split_stem(layers, levels)
        self.stages = nn.Sequential(*(Stage(piece, blocks if piece is pieces[-1] else ()) for piece in pieces))
        modules = [f'stem.{levels[0]}', *(f'stages.{i}' for i in range(len(pieces)))]
        for layer, module in zip((*levels, -1), modules, strict=True):
            self.feature_info.append({'num_chs': widths[layer], 'reduction': strides[layer], 'module': module})
        self._finish(**dd)

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Linear layers: normal, cut at two, with standard deviation 0.02, and zero biases."""
        projections = self.linear and '.blocks.' in name
        if isinstance(module, nn.Linear) or (projections and isinstance(module, nn.Conv2d) and module.groups == 1):
            trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """The image itself: the stem repeats what its first convolution makes of it."""
        return x


_ATTN, _MLP = ('block.{i}.attn', 'stages.1.blocks.{i}.attn'), ('block.{i}.mlp', 'stages.1.blocks.{i}.mlp')


def _attention() -> dict[str, str | None]:
    source, target = _ATTN
    rows: dict[str, str | None] = {}
    for kind in ('linear', 'conv'):
        rows[f'{source}.proj_{kind}.{{p}}'] = f'{target}.proj.conv.conv.{{p}}'
        rows[f'{source}.{{part}}_{kind}.{{p}}'] = f'{target}.{{part}}.conv.{{p}}'
        rows[f'{source}.ff_list.{{e}}.unit_{kind}.{{p}}'] = f'{target}.q{{e}}.conv.{{p}}'
    rows[f'{source}.proj_bn.{{p}}'] = f'{target}.proj.conv.norm.{{p}}'
    rows[f'{source}.{{part}}_bn.{{p}}'] = None  # norms that nothing uses; `KV_NORM` has them where something does
    rows[f'{source}.ff_list.{{e}}.unit_bn.{{p}}'] = f'{target}.q{{e}}.norm.{{p}}'
    rows[f'{source}.router1.{{p}}'] = f'{target}.router.conv.{{p}}'
    rows[f'{source}.router2.{{p}}'] = f'{target}.router.norm.{{p}}'
    return rows


KEYS: dict[str, str | None] = {
    '{neuron...}.threshold': None,  # constants
    '{neuron...}.act_fun.alpha': None,
    'patch_embed.proj_conv.{p}': 'stem.0.conv.conv.{p}',
    'patch_embed.proj_bn.{p}': 'stem.0.conv.norm.{p}',
    'patch_embed.proj_conv{n}.{p}': 'stem.{n}.conv.conv.{p}',
    'patch_embed.proj_bn{n}.{p}': 'stem.{n}.conv.norm.{p}',
    'patch_embed.rpe_conv.{p}': 'stem.4.conv.conv.{p}',
    'patch_embed.rpe_bn.{p}': 'stem.4.conv.norm.{p}',
    **_attention(),
    f'{_MLP[0]}.dw_conv.{{p}}': f'{_MLP[1]}.spread.conv.conv.{{p}}',
    f'{_MLP[0]}.dw_bn.{{p}}': f'{_MLP[1]}.spread.conv.norm.{{p}}',
    f'{_MLP[0]}.{{fc}}_linear.{{p}}': f'{_MLP[1]}.{{fc}}.conv.conv.{{p}}',
    f'{_MLP[0]}.{{fc}}_conv.{{p}}': f'{_MLP[1]}.{{fc}}.conv.conv.{{p}}',
    f'{_MLP[0]}.{{fc}}_bn.{{p}}': f'{_MLP[1]}.{{fc}}.conv.norm.{{p}}',
    'head.{p}': 'head.{p}',
}


KV_NORM = {f'{_ATTN[0]}.{part}_bn.{{p}}': f'{_ATTN[1]}.{part}.norm.{{p}}' for part in 'kv'}


def checkpoint_filter_fn(checkpoint: Mapping, model: SpikformerSemm) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes."""
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        state = rename(state, {**KV_NORM, **KEYS} if model.kv_norm else KEYS)
        state = rename(join(state, _joined(model.num_experts)), moves(model.stem_names))
        state = {key: _as_conv(key, value) for key, value in state.items()}
    return check_fit(model, state, adapt=('head', 'stem.0.conv.conv'))


def _joined(experts: int) -> dict[str, list[str]]:
    parts = {'q': [f'q{e}' for e in range(experts)], 'kv': ['k', 'v']}
    at, of = _ATTN[1], '{p...}'
    return {f'{at}.{name}.{of}': [f'{at}.{part}.{of}' for part in found] for name, found in parts.items()}


def _as_conv(key: str, value: torch.Tensor) -> torch.Tensor:
    """Weights of linear layers and of convolutions over tokens as those of convolutions over maps."""
    if not key.startswith('head.') and value.ndim in (2, 3):
        return value.reshape(*value.shape[:2], 1, 1)
    return value


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
        'license': 'unknown',
        'origin_url': 'https://github.com/Fancyssc/STEP',
        'paper_name': 'Spiking Transformer with Experts Mixture',
        'paper_ids': 'openreview:WcIeEtY3AG',
        **kwargs,
    }


def _cifar(num_classes: int) -> dict[str, Any]:
    """The published recipe of CIFAR-10 has the mean and deviation of CIFAR-100 too."""
    mean, std = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
    return _cfg(num_classes=num_classes, input_size=(3, 32, 32), pool_size=(8, 8), mean=mean, std=std)


default_cfgs = generate_default_cfgs(
    {
        'spikf_semm_cifar.step_cifar10': _cifar(10),
        'spikf_semm_cifar100.step_cifar100': _cifar(100),
        'spikf_semm_imagenet.step_in1k': _cfg(),
        'spikf_semm_imagenet_384.untrained': _cfg(),
    }
)


def _semm(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(SpikformerSemm, variant, pretrained, checkpoint_filter_fn, **kwargs)


def _semm_cifar(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    numbers = {
        'embed_dim': 384,
        'depth': 4,
        'mlp_dim': 1536,
        'pools': (2, 3),
        'scale': 0.125,
        'kv_norm': True,
        'flat_router': True,
        'linear': True,
        'img_size': 32,
    }
    return _semm(variant, pretrained, **{**numbers, **kwargs})


@register_model
def spikf_semm_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikformer with experts for CIFAR-10, 7.7 M parameters, 3.4 G MACs at 32 x 32."""
    return _semm_cifar('spikf_semm_cifar', pretrained, **{'num_classes': 10, **kwargs})


@register_model
def spikf_semm_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikformer with experts for CIFAR-100, 7.8 M parameters, 3.4 G MACs at 32 x 32."""
    return _semm_cifar('spikf_semm_cifar100', pretrained, **{'num_classes': 100, **kwargs})


@register_model
def spikf_semm_imagenet(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikformer with experts 8-512, 27.5 M parameters, 31.8 G MACs at 224 x 224."""
    return _semm('spikf_semm_imagenet', pretrained, **{'embed_dim': 512, 'mlp_dim': 2720, **kwargs})


@register_model
def spikf_semm_imagenet_384(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikformer with experts 8-384, 16.0 M parameters, 18.4 G MACs at 224 x 224."""
    return _semm('spikf_semm_imagenet_384', pretrained, **{'embed_dim': 384, 'mlp_dim': 2048, **kwargs})
