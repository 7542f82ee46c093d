"""GLNet: a few slots gather the whole map softly, attend to each other and are spread over the map again, while a
depthwise convolution beside them looks after the details; deep stages attend over all positions as well.

Paper: Revisiting the Integration of Convolution and Attention for Vision Backbone, arXiv 2411.14429 (NeurIPS 2024).
Code: rayleizhu/GLMix@3c93dbf, MIT.
Differs: Maps that `glnet_stl` downsamples in patches lose an incomplete last patch in the code; here it is filled with
    zeros. The code mixes the tokens of two images while it trains with token labels; here the head alone is the same.

Shapes: B batch, H and W height and width of the map, C channels, N = H W positions, S slots.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath, LayerScale, calculate_drop_path_rates, trunc_normal_
from timm.models import generate_default_cfgs, register_model
from torch import nn

from ..base import Stage, StagedBackbone
from ..build import create
from ..keys import check_fit, is_ours, rename, unwrap
from ..layers import (
    BatchNorm2d,
    MapDepthwise,
    NormConvMlp,
    NormMlp,
    ResidualDepthwise,
    SelfAttention,
    Stem,
    TokenLabelHead,
    Transition,
    adaptive_pool,
    fold_affine,
    free_reshape,
    gather_groups,
    require_eval,
)

__all__ = ['GLNet']

EPS = 1e-6  # of every layer normalisation
TINY = 1e-12  # least length that a slot or a position is divided by
MIXERS = ('glmix', 'hybrid', 'attention')


class Local(nn.Sequential):
    """y = W_2 DW(W_1 x + b_1) + b_2

    Args:
        dim: Channels C.
        kernel_size: Side of the depthwise kernels in positions, odd.

    Shape:
        (B, H, W, C) -> (B, H, W, C)
    """

    def __init__(self, dim: int, kernel_size: int, **dd: Any) -> None:
        super().__init__(nn.Linear(dim, dim, **dd), MapDepthwise(dim, kernel_size, **dd), nn.Linear(dim, dim, **dd))


class GLMix(nn.Module):
    """Token mixer: what the slots agree on for the whole map, and what a convolution sees.

    L = scale cos(s, x)                          similarity of each slot s and each position, S x N
    s' = MHA(softmax_N(L) x)                     slots gather positions and attend to each other
    y = softmax_S(L)^T s' + W_2 DW(W_1 x)        positions get back what their slots know

    Args:
        dim: Channels C.
        num_heads: Heads of the attention among slots.
        num_slots: Slots S; the square of a whole number, but for learned ones.
        learned: Slots start from learned vectors, else from means over the cells of a grid.
        kernel_size: Side of the depthwise kernels in positions.

    Shape:
        (B, H, W, C) and slots (B, S, C) -> (B, H, W, C)

    Source: rayleizhu/GLMix@3c93dbf:models/glnet.py:GLMixBlock
    """

    def __init__(
        self, dim: int, num_heads: int, num_slots: int = 64, learned: bool = False, kernel_size: int = 5, **dd: Any
    ) -> None:
        super().__init__()
        self.side = round(num_slots**0.5)
        self.slot_scale = nn.Parameter(torch.tensor(dim**-0.5, **dd))
        self.init_slots = nn.Parameter(torch.zeros(1, num_slots, dim, **dd)) if learned else None
        self.attention = SelfAttention(dim, num_heads, **dd)
        self.local = Local(dim, kernel_size, **dd)

    def slots(self, x: torch.Tensor) -> torch.Tensor:
        """Slots (B, S, C) to start from, for a map (B, H, W, C)."""
        if self.init_slots is not None:
            return self.init_slots.expand(x.shape[0], -1, -1)
        return adaptive_pool(x, self.side)

    def forward(self, x: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        batch, height, width, channels = x.shape
        tokens = free_reshape(x, batch, height * width, channels)  # B N C
        slots = F.normalize(slots, dim=-1, eps=TINY).to(x.dtype) * self.slot_scale
        gathered, weights = gather_groups(tokens, slots, TINY)  # B S C, B S N
        local = free_reshape(self.local(x), batch, height * width, channels)
        y = torch.baddbmm(local, weights.mT, self.attention(gathered))  # B N C
        return free_reshape(y, batch, height, width, channels)

    def scaled(self, gamma: torch.Tensor) -> 'GLMix':
        """The same followed by a scale (C) of each channel, as one."""
        fused = copy.deepcopy(self)
        fused.attention = self.attention.scaled(gamma)
        _scale_rows(fused.local[2], gamma)
        return fused


class MapAttention(SelfAttention):
    """Token mixer of deep stages: attention of all positions.

    Shape:
        (B, H, W, C) -> (B, H, W, C)
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, height, width, channels = x.shape
        y = super().forward(free_reshape(x, batch, height * width, channels))
        return free_reshape(y, batch, height, width, channels)


@torch.no_grad()
def _scale_rows(linear: Any, gamma: torch.Tensor) -> None:
    """Multiply what a linear layer gives by a scale of each channel."""
    linear.weight.copy_(linear.weight.double() * gamma.double()[:, None])
    linear.bias.copy_(linear.bias.double() * gamma.double())


class Block(nn.Module):
    """Position, token mixer, channel mixer.

    z = x + DW_3(x);  u = z + drop_path(gamma_1 mixer(LN(z)));  y = u + drop_path(gamma_2 MLP(u))

    The slots of a `GLMix` start from x, what they gather is z.

    Args:
        dim: Channels C.
        mixer: `GLMix` or `MapAttention`.
        mlp: Channel mixer with a norm of its own.
        position: Whether there is a depthwise convolution, else z = x.
        init_values: First value of the scales; None for no scales.
        drop_path: Rate of stochastic depth.

    Shape:
        (B, H, W, C) -> (B, H, W, C)

    Source: rayleizhu/GLMix@3c93dbf:models/glnet.py:GLMixBlock,MHSA_NCHW_Block,MHSA_Block
    """

    def __init__(
        self,
        dim: int,
        mixer: nn.Module,
        mlp: nn.Module,
        position: bool,
        init_values: float | None = None,
        drop_path: float = 0.0,
        **dd: Any,
    ) -> None:
        super().__init__()
        self.position: nn.Module = ResidualDepthwise(dim, 3, **dd) if position else nn.Identity()
        self.norm = nn.LayerNorm(dim, EPS, **dd)
        self.mixer: Any = mixer
        self.scale1 = nn.Identity() if init_values is None else LayerScale(dim, init_values, **dd)
        self.mlp: Any = mlp
        self.scale2 = nn.Identity() if init_values is None else LayerScale(dim, init_values, **dd)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.position(x)
        y = self.norm(z)
        y = self.mixer(y, self.mixer.slots(x)) if isinstance(self.mixer, GLMix) else self.mixer(y)
        x = z + self.drop_path(self.scale1(y).to(z.dtype))  # under autocast the scales would spread float32
        return x + self.drop_path(self.scale2(self.mlp(x)).to(x.dtype))

    def fuse(self) -> 'Block':
        """The same with one convolution for the position, and norms and scales inside linear layers."""
        require_eval(self)
        fused = copy.deepcopy(self)
        if isinstance(fused.position, ResidualDepthwise):
            fused.position = fused.position.fuse()
        if isinstance(fused.mixer, MapAttention):
            fused.norm, fused.mixer.qkv = fold_affine(fused.norm, fused.mixer.qkv)
        fused.mlp = fused.mlp.fuse()
        if isinstance(self.scale1, LayerScale) and isinstance(self.scale2, LayerScale):
            fused.mixer = fused.mixer.scaled(self.scale1.gamma)
            _scale_rows(fused.mlp.fc2, self.scale2.gamma)
            fused.scale1, fused.scale2 = nn.Identity(), nn.Identity()
        return fused


class GLNet(StagedBackbone):
    """GLNet at strides 4, 8, 16 and 32.

    Args:
        embed_dims: Channels of the stages.
        depths: Blocks of the stages.
        mixers: Token mixers of the stages: 'glmix', 'attention', or 'hybrid' for both in turn.
        mlp_ratio: Hidden width of the channel mixers, as a multiple of their channels.
        head_dim: Channels of an attention head.
        num_slots: Slots of each `GLMix`, a square number unless they are learned.
        learned_slots: Slots start from learned vectors, else from means over the cells of a grid.
        kernel_size: Side of the depthwise kernels beside the slots in positions, odd.
        overlap: Images and maps are downsampled by overlapping convolutions with norms behind them, and there are
            depthwise convolutions in front of the token mixers and inside the channel mixers; else by patches that
            meet, with norms in front, and without those.
        init_values: First value of the scale behind each mixer; None for no scale.
        token_label: A second classifier looks at every position of the last map.
        img_size: Side or (height, width) in pixels; no weight depends on it, any other size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth at the last block, growing linearly from 0 (published: 0.1 for stl
            and with token labels, 0.15 for 4g, 0.3 for 9g, 0.4 for 16g).

    Raises:
        ValueError: Numbers of stages differ, a mixer is unknown, heads do not divide channels, slots make no grid, or
            a kernel is even.

    Source: rayleizhu/GLMix@3c93dbf:models/glnet.py:GLNet
    """

    def __init__(
        self,
        embed_dims: Sequence[int] = (64, 128, 256, 512),
        depths: Sequence[int] = (4, 4, 18, 4),
        mixers: Sequence[str] = ('glmix', 'glmix', 'hybrid', 'attention'),
        mlp_ratio: float = 3.0,
        head_dim: int = 32,
        num_slots: int = 64,
        learned_slots: bool = False,
        kernel_size: int = 5,
        overlap: bool = True,
        init_values: float | None = None,
        token_label: bool = False,
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
        _check(embed_dims, depths, mixers, head_dim, num_slots, learned_slots, kernel_size)
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.overlap, self.token_label = overlap, token_label
        self.published = 'model' if init_values is None else 'model_ema'  # glnet_16g alone has scales
        self.stem = _stem(in_chans, embed_dims[0], overlap, **dd)
        rates: Any = iter(calculate_drop_path_rates(drop_path_rate, sum(depths)))
        stages: list[Stage] = []
        for i, (dim, depth, kind) in enumerate(zip(embed_dims, depths, mixers, strict=True)):
            blocks = []
            for b in range(depth):
                if kind == 'glmix' or (kind == 'hybrid' and b % 2 == 0):
                    mixer = GLMix(dim, dim // head_dim, num_slots, learned_slots, kernel_size, **dd)
                else:
                    mixer = MapAttention(dim, dim // head_dim, **dd)
                hidden = int(dim * mlp_ratio)
                mlp = NormConvMlp(dim, hidden, EPS, True, **dd) if overlap else NormMlp(dim, hidden, EPS, **dd)
                blocks.append(Block(dim, mixer, mlp, overlap, init_values, next(rates), **dd))
            before = _transition(embed_dims[i - 1], dim, overlap, **dd) if i else nn.Identity()
            stages.append(Stage(before, blocks))
            self.feature_info.append({'num_chs': dim, 'reduction': 4 * 2**i, 'module': f'stages.{i}'})
        self.stages = nn.Sequential(*stages)
        self.norm = Transition(1, BatchNorm2d(embed_dims[-1], **dd))
        self._finish(**dd)

    def make_head(self, in_features: int, num_classes: int, device=None, dtype=None) -> nn.Module:
        """Linear map of the pooled features; with token labels a second one of every position."""
        if self.token_label:
            return TokenLabelHead(in_features, self.num_features, num_classes, device=device, dtype=dtype)
        return super().make_head(in_features, num_classes, device=device, dtype=dtype)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Pool, drop and classify the map of `forward_features`; with `pre_logits` stop before the classifier."""
        pooled = super().forward_head(x, pre_logits=True)
        if pre_logits:
            return pooled
        if not isinstance(self.head, TokenLabelHead):
            return self.head(pooled)
        batch, channels, height, width = x.shape
        return self.head(pooled, free_reshape(x.permute(0, 2, 3, 1), batch, height * width, channels))

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Linear layers, in the published sense, by a cut normal of deviation 0.02; those that are published as
        convolutions as PyTorch does; queries, keys and values as its MultiheadAttention."""
        linears: list[Any] = []
        if isinstance(module, SelfAttention):
            nn.init.xavier_uniform_(module.qkv.weight)
            nn.init.zeros_(module.qkv.bias)
            linears = [module.proj]
        elif isinstance(module, GLMix) and module.init_slots is not None:
            nn.init.normal_(module.init_slots, std=0.02)
        elif isinstance(module, Block) and isinstance(module.mixer, MapAttention) and not self.overlap:
            linears = [module.mlp.fc1, module.mlp.fc2]
        elif name.startswith('head') and isinstance(module, nn.Linear):
            linears = [module]
        for linear in linears:
            trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)


def _stem(in_chans: int, dim: int, overlap: bool, **dd: Any) -> Stem:
    if not overlap:
        return Stem(4, nn.Conv2d(in_chans, dim, 4, 4, **dd), nn.BatchNorm2d(dim, **dd))
    half = dim // 2
    return Stem(
        1,
        nn.Identity(),  # a place that the published layers count
        nn.Conv2d(in_chans, half, 3, 2, 1, **dd),
        nn.BatchNorm2d(half, **dd),
        nn.GELU(),
        nn.Conv2d(half, dim, 3, 2, 1, **dd),
        nn.BatchNorm2d(dim, **dd),
    )


def _transition(before: int, dim: int, overlap: bool, **dd: Any) -> Transition:
    if overlap:
        return Transition(1, nn.Conv2d(before, dim, 3, 2, 1, **dd), nn.BatchNorm2d(dim, **dd))
    return Transition(2, BatchNorm2d(before, **dd), nn.Conv2d(before, dim, 2, 2, **dd))


def _check(
    embed_dims: Sequence[int],
    depths: Sequence[int],
    mixers: Sequence[str],
    head_dim: int,
    num_slots: int,
    learned: bool,
    kernel_size: int,
) -> None:
    counts = len(embed_dims), len(depths), len(mixers)
    if len(set(counts)) > 1 or min(*depths, *counts) < 1:
        raise ValueError(
            'GLNet needs channels, a depth of at least 1 and a mixer for each stage, but got '
            f'embed_dims={tuple(embed_dims)}, depths={tuple(depths)}, mixers={tuple(mixers)}.'
        )
    if not set(mixers) <= set(MIXERS):
        raise ValueError(f'mixers must be of {", ".join(map(repr, MIXERS))}, but got {tuple(mixers)}.')
    if head_dim < 1 or any(dim < 2 or dim % head_dim for dim in embed_dims):
        raise ValueError(f'head_dim must divide the channels of every stage, but got {head_dim} for {embed_dims}.')
    if num_slots < 1 or (not learned and round(num_slots**0.5) ** 2 != num_slots):
        raise ValueError(
            f'num_slots must be a square number, since slots start from a grid of cells, but got {num_slots}: give '
            'one, or learned_slots=True.'
        )
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f'kernel_size must be odd, but got {kernel_size}.')


_BLOCK = 'stages.{s}.blocks.{b}'

KEYS: dict[str, str | None] = {
    'downsample_layers.0.{n}.{p}': 'stem.{n}.{p}',
    'downsample_layers.{s}.{n}.{p}': 'stages.{s}.downsample.{n}.{p}',
    f'{_BLOCK}.{{slots}}': f'{_BLOCK}.mixer.{{slots}}',
    f'{_BLOCK}.pos_conv.{{p}}': f'{_BLOCK}.position.{{p}}',
    f'{_BLOCK}.norm1.{{p}}': f'{_BLOCK}.norm.{{p}}',
    f'{_BLOCK}.norm2.{{p}}': f'{_BLOCK}.mlp.norm.{{p}}',
    f'{_BLOCK}.feature_conv.{{n}}.{{p}}': f'{_BLOCK}.mixer.local.{{n}}.{{p}}',
    f'{_BLOCK}.relation_mha.out_proj.{{p}}': f'{_BLOCK}.mixer.attention.proj.{{p}}',
    f'{_BLOCK}.relation_mha.in_proj_weight': f'{_BLOCK}.mixer.attention.qkv.weight',
    f'{_BLOCK}.relation_mha.in_proj_bias': f'{_BLOCK}.mixer.attention.qkv.bias',
    f'{_BLOCK}.mha_op.out_proj.{{p}}': f'{_BLOCK}.mixer.proj.{{p}}',
    f'{_BLOCK}.mha_op.in_proj_weight': f'{_BLOCK}.mixer.qkv.weight',
    f'{_BLOCK}.mha_op.in_proj_bias': f'{_BLOCK}.mixer.qkv.bias',
    f'{_BLOCK}.mlp.0.{{p}}': f'{_BLOCK}.mlp.fc1.{{p}}',
    f'{_BLOCK}.mlp.1.{{p}}': f'{_BLOCK}.mlp.spatial.{{p}}',
    f'{_BLOCK}.mlp.2.{{p}}': f'{_BLOCK}.mlp.fc2.{{p}}',
    f'{_BLOCK}.mlp.3.{{p}}': f'{_BLOCK}.mlp.fc2.{{p}}',
    f'{_BLOCK}.ls{{n}}.gamma': f'{_BLOCK}.scale{{n}}.gamma',
    'norm.{p}': 'norm.0.{p}',
    'head.{p}': 'head.{p}',
    'tklb_aux_head.{p}': 'head.aux.{p}',
}


def checkpoint_filter_fn(checkpoint: Mapping, model: GLNet) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes.

    A published file holds weights and their average; the published accuracy of `glnet_16g`, which alone has scales, is
    that of the average, the others are those of the weights.
    """
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        state = rename(state, KEYS)
        if model.token_label:
            state = {key.replace('head.', 'head.cls.') if key.count('.') == 1 else key: state[key] for key in state}
    for key, own in model.state_dict().items():
        value = state.get(key)
        if value is not None and value.shape in ((*own.shape, 1, 1), (1, *own.shape, 1, 1)):  # published convolutions
            state[key] = value.reshape(own.shape)
    return check_fit(model, state, adapt=('head', first_conv(model.overlap)))


def first_conv(overlap: bool) -> str:
    """Name of the first convolution."""
    return 'stem.1' if overlap else 'stem.0'


def _cfg(overlap: bool = True, classifier: str | tuple[str, ...] = 'head', **kwargs: Any) -> dict[str, Any]:
    return {
        'num_classes': 1000,
        'input_size': (3, 224, 224),
        'pool_size': (7, 7),
        'crop_pct': 0.875,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': first_conv(overlap),
        'classifier': classifier,
        'license': 'mit',
        'origin_url': 'https://github.com/rayleizhu/GLMix',
        'paper_name': 'Revisiting the Integration of Convolution and Attention for Vision Backbone',
        'paper_ids': 'arXiv:2411.14429',
        **kwargs,
    }


_BOTH: dict[str, Any] = {'classifier': ('head.cls', 'head.aux'), 'crop_pct': 0.96}

# no published file has an address that a program can fetch: checkpoints/index.yaml says where they lie
default_cfgs = generate_default_cfgs(
    {
        'glnet_stl.rayleizhu_in1k': _cfg(overlap=False),
        'glnet_stl_paramslot.rayleizhu_in1k': _cfg(overlap=False),
        'glnet_4g.rayleizhu_in1k': _cfg(),
        'glnet_9g.rayleizhu_in1k': _cfg(),
        'glnet_16g.rayleizhu_in1k': _cfg(),
        'glnet_4g_tklb.rayleizhu_in1k': _cfg(**_BOTH),
        'glnet_9g_tklb.rayleizhu_in1k': _cfg(**_BOTH),
    }
)

_STL: dict[str, Any] = {
    'embed_dims': (96, 192, 384, 768),
    'depths': (2, 2, 6, 2),
    'mixers': ('glmix', 'glmix', 'glmix', 'attention'),
    'mlp_ratio': 4.0,
    'overlap': False,
}


def _glnet(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(GLNet, variant, pretrained, checkpoint_filter_fn, **kwargs)


@register_model
def glnet_stl(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """GLNet-STL, 30.3 M parameters, 4.4 G MACs at 224 x 224."""
    return _glnet('glnet_stl', pretrained, **{**_STL, **kwargs})


@register_model
def glnet_stl_paramslot(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """GLNet-STL with learned slots, 30.5 M parameters, 4.4 G MACs at 224 x 224."""
    return _glnet('glnet_stl_paramslot', pretrained, **{**_STL, 'learned_slots': True, **kwargs})


@register_model
def glnet_4g(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """GLNet-4G, 27.0 M parameters, 4.5 G MACs at 224 x 224."""
    return _glnet('glnet_4g', pretrained, **{'embed_dims': (64, 128, 256, 512), **kwargs})


@register_model
def glnet_9g(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """GLNet-9G, 60.0 M parameters, 9.6 G MACs at 224 x 224."""
    return _glnet('glnet_9g', pretrained, **{'embed_dims': (96, 192, 384, 768), **kwargs})


@register_model
def glnet_16g(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """GLNet-16G, 106.1 M parameters, 16.7 G MACs at 224 x 224."""
    return _glnet('glnet_16g', pretrained, **{'embed_dims': (128, 256, 512, 1024), 'init_values': 1e-4, **kwargs})


@register_model
def glnet_4g_tklb(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """GLNet-4G trained with token labels, 27.5 M parameters, 4.5 G MACs at 224 x 224."""
    return _glnet('glnet_4g_tklb', pretrained, **{'embed_dims': (64, 128, 256, 512), 'token_label': True, **kwargs})


@register_model
def glnet_9g_tklb(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """GLNet-9G trained with token labels, 60.8 M parameters, 9.7 G MACs at 224 x 224."""
    return _glnet('glnet_9g_tklb', pretrained, **{'embed_dims': (96, 192, 384, 768), 'token_label': True, **kwargs})
