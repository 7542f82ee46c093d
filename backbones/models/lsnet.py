"""LSNet: light networks that see a large neighbourhood and focus on a small one. A large-kernel branch predicts, at
every position, the weights with which a 3 x 3 neighbourhood is summed; the last stage attends globally.

Paper: LSNet: See Large, Focus Small, arXiv 2503.23135 (CVPR 2025).
Code: jameslahm/lsnet@cbe737c; no licence file, its model cards say MIT.
Differs: The code caches its expanded attention bias on `eval()`; here nothing is cached. The code takes a last grid of
    4 x 4 alone; here the bias table is resampled linearly to any grid. The detection code (`downstream=True`) resizes
    the expanded bias matrix as if it were a picture, and its published weights need that.

Shapes: B batch, C channels, H and W height and width of the map, N = H W positions, D key width of a head,
    G = C / 8 weight slots of the aggregation.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath, SqueezeExcite, calculate_drop_path_rates
from timm.models import generate_default_cfgs, register_model
from torch import nn

from ..base import Stage, StagedBackbone, pair
from ..build import create
from ..keys import check_fit, is_ours, rename, unwrap
from ..layers import (
    BatchNorm2d,
    ConvNorm,
    DistilledHead,
    NormLinear,
    RepDepthwise,
    cubic_matrix,
    linear_matrix,
    require_eval,
    small_kernel_aggregation,
)

__all__ = ['LSNet']

DOWNSTREAM_GRID = (14, 14)  # what every published detection and segmentation backbone builds its bias tables for
SHARED = 8  # channels that share one slot of predicted weights


class LargeKernelPerception(nn.Module):
    """Predict the 3 x 3 weights of every position from a 7 x 7 neighbourhood.

    w = GroupNorm_G(W_4 relu(PW(DW_7(relu(PW(x))))))

    The statistics of the normalisation run over a slot's nine weights and the whole map.

    Shape:
        (B, C, H, W) -> (B, G, 9, H, W)

    Source: jameslahm/lsnet@cbe737c:model/lsnet.py:LKP
    """

    def __init__(self, dim: int, kernel_size: int = 7, taps: int = 9, **dd: Any) -> None:
        super().__init__()
        slots, hidden = dim // SHARED, dim // 2
        self.taps = taps
        self.reduce = ConvNorm(dim, hidden, **dd)
        self.spatial = ConvNorm(hidden, hidden, kernel_size, groups=hidden, **dd)
        self.mix = ConvNorm(hidden, hidden, **dd)
        self.act = nn.ReLU()
        self.predict = nn.Conv2d(hidden, slots * taps, 1, **dd)
        self.norm = nn.GroupNorm(slots, slots * taps, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.mix(self.spatial(self.act(self.reduce(x)))))
        x = self.norm(self.predict(x))
        return x.unflatten(1, (-1, self.taps))  # B G*9 H W -> B G 9 H W


class LSConv(nn.Module):
    """See with a large kernel, focus with a small one.

    y = BN(SKA(x, LKP(x))) + x

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: jameslahm/lsnet@cbe737c:model/lsnet.py:LSConv
    """

    def __init__(self, dim: int, drop_path: float = 0.0, **dd: Any) -> None:
        super().__init__()
        self.perceive = LargeKernelPerception(dim, **dd)
        self.norm = BatchNorm2d(dim, **dd)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.perceive(x).to(x.dtype)  # under autocast the group norm gives float32, which would spread
        return x + self.drop_path(self.norm(small_kernel_aggregation(x, weight)))


class Attention(nn.Module):
    """Attention of all positions with a bias per distance; queries see their 3 x 3 neighbourhood.

    y = PW(relu(v softmax(q^T k D^-1/2 + b)^T)),  q = DW_3(W_q x),  k = W_k x,  v = W_v x
    b[i, j] = table[|y_i - y_j|, |x_i - x_j|]

    Args:
        dim: Channels C.
        key_dim: Key width D of a head.
        num_heads: Heads.
        grid: (height, width) in positions that the table is made for. On another grid it is resampled linearly over
            its distances.
        matrix_bias: On another grid resample the expanded (N, N) bias bicubically, as the published detectors do.

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: jameslahm/lsnet@cbe737c:model/lsnet.py:Attention and detection/model/lsnet.py:Attention
    """

    def __init__(
        self, dim: int, key_dim: int, num_heads: int, grid: tuple[int, int], matrix_bias: bool = False, **dd: Any
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = key_dim**-0.5
        self.grid = grid
        self.matrix_bias = matrix_bias
        keys = key_dim * num_heads
        self.widths = (keys, keys, dim)
        self.qkv = ConvNorm(dim, sum(self.widths), **dd)
        self.spatial = ConvNorm(keys, keys, 3, groups=keys, **dd)
        self.act = nn.ReLU()
        self.proj = ConvNorm(dim, dim, **dd)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, math.prod(grid), **dd))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _attend(self, x, self.scale, self.bias(*x.shape[2:]))

    def bias(self, height: int, width: int) -> torch.Tensor:
        """Bias (heads, N, N) on a grid of `height` x `width` positions."""
        table = self.attention_biases.unflatten(1, self.grid)
        if self.matrix_bias:
            return _resize_matrix(_expand(table, *self.grid), height * width)
        return _expand(_resize_table(table, height, width), height, width)

    @torch.no_grad()
    def set_grid(self, grid: tuple[int, int]) -> None:
        """Make the table anew for another grid of positions, resampled linearly over its distances."""
        table = _resize_table(self.attention_biases.unflatten(1, self.grid), *grid)
        self.attention_biases = nn.Parameter(table.flatten(1), self.attention_biases.requires_grad)
        self.grid = grid

    def fuse(self) -> 'FusedAttention':
        """The same with the table expanded for its grid and the scale inside the convolution of the queries."""
        return FusedAttention(self)


class FusedAttention(nn.Module):
    """Deployed form of `Attention`: convolutions without norms, no scale, the bias of its grid laid out.

    The table of distances is the first row of the bias, so other grids follow from the same numbers.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        require_eval(attention)
        self.num_heads, self.grid, self.widths = attention.num_heads, attention.grid, attention.widths
        self.matrix_bias = attention.matrix_bias
        self.qkv, self.spatial, self.proj = attention.qkv.fuse(), attention.spatial.fuse(), attention.proj.fuse()
        self.act = nn.ReLU()
        with torch.no_grad():
            self.spatial.weight *= attention.scale
            self.spatial.bias *= attention.scale  # type: ignore[operator]
            table = attention.attention_biases.unflatten(1, attention.grid)
            self.attention_bias = nn.Parameter(_expand(table, *attention.grid).clone())
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _attend(self, x, None, self.bias(*x.shape[2:]))

    def bias(self, height: int, width: int) -> torch.Tensor:
        """Bias (heads, N, N) on a grid of `height` x `width` positions."""
        if self.matrix_bias:
            return _resize_matrix(self.attention_bias, height * width)
        table = self.attention_bias[:, 0].unflatten(1, self.grid)
        return _expand(_resize_table(table, height, width), height, width)


def _attend(
    layer: Attention | FusedAttention, x: torch.Tensor, scale: float | None, bias: torch.Tensor
) -> torch.Tensor:
    """The equation of `Attention` for given bias; `scale` None where the queries hold it already."""
    height, width = x.shape[2:]
    q, k, v = layer.qkv(x).split(layer.widths, dim=1)
    q, k, v = (t.flatten(2).unflatten(1, (layer.num_heads, -1)) for t in (layer.spatial(q), k, v))  # B heads D N
    attn = q.transpose(-2, -1) @ k  # B heads N N
    attn = ((attn if scale is None else attn * scale) + bias).softmax(dim=-1)
    y = v @ attn.transpose(-2, -1)  # B heads D N
    return layer.proj(layer.act(y.flatten(1, 2).unflatten(2, (height, width))))


def _expand(table: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Table of distances (heads, height, width) -> bias of pairs (heads, N, N)."""
    y, x = (torch.arange(side, device=table.device) for side in (height, width))
    dy, dx = ((t[:, None] - t).abs() for t in (y, x))  # H H, W W
    index = (dy[:, None, :, None] * width + dx[None, :, None, :]).reshape(-1)  # H W H W -> N*N
    return table.flatten(1)[:, index].unflatten(1, (height * width, -1))


def _resize_table(table: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Table of distances (heads, h, w) -> (heads, height, width), linear between its first and last distance."""
    heads, rows, columns = table.shape
    tall, wide = linear_matrix(height, rows, table), linear_matrix(width, columns, table)
    # bmm: a broadcasting matmul would fold the heads into a side, and a traced graph then pins that side
    return torch.bmm(torch.bmm(tall.expand(heads, -1, -1), table), wide.mT.expand(heads, -1, -1))


def _resize_matrix(bias: torch.Tensor, positions: int) -> torch.Tensor:
    """Bias (heads, n, n) -> (heads, positions, positions), bicubic."""
    matrix = cubic_matrix(positions, bias.shape[-1], bias)
    return matrix @ bias @ matrix.mT


class FeedForward(nn.Module):
    """Channel mixer: y = PW(relu(PW(x))), twice as wide between.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, hidden: int, **dd: Any) -> None:
        super().__init__()
        self.expand = ConvNorm(dim, hidden, **dd)
        self.act = nn.ReLU()
        self.project = ConvNorm(hidden, dim, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.project(self.act(self.expand(x)))


class Residual(nn.Module):
    """y = x + drop_path(f(x))"""

    def __init__(self, fn: nn.Module, drop_path: float = 0.0) -> None:
        super().__init__()
        self.fn = fn
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.drop_path(self.fn(x))


class Block(nn.Sequential):
    """Token mixer, then channel mixer.

    y = z + FFN(z);  z = SE(RepDW(x)) in even blocks, LSConv(x) in odd ones, x + Attention(x) in odd ones of stage 4

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: jameslahm/lsnet@cbe737c:model/lsnet.py:Block
    """

    def __init__(self, dim: int, mixer: nn.Module, drop_path: float = 0.0, **dd: Any) -> None:
        super().__init__()
        self.mixer = mixer
        self.se = SqueezeExcite(dim, 0.25, **dd) if isinstance(mixer, RepDepthwise) else nn.Identity()
        self.ffn = Residual(FeedForward(dim, 2 * dim, **dd), drop_path)


class LSNet(StagedBackbone):
    """LSNet at strides 8, 16, 32 and 64.

    Args:
        dims: Channels of the four stages.
        depths: Blocks of the four stages; the map of an empty first stage is the stem's.
        num_heads: Heads of the attention.
        key_dim: Key width of a head.
        distilled: Give the model a second head, for a teacher's labels.
        downstream: Attention biases as in the published detectors and segmentors; classification weights that are
            loaded are resized for it as theirs are.
        stem_feature: Offer the stem's map at stride 4 as feature level 0.
        img_size: Side or (height, width) in pixels that the bias tables are made for; any other size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth at the last block, growing linearly from 0 (0 as published).

    Source: jameslahm/lsnet@cbe737c:model/lsnet.py:LSNet
    """

    published = 'model'

    def __init__(
        self,
        dims: Sequence[int] = (64, 128, 256, 384),
        depths: Sequence[int] = (0, 2, 8, 10),
        num_heads: int = 4,
        key_dim: int = 16,
        distilled: bool = False,
        downstream: bool = False,
        stem_feature: bool = False,
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
            stem_taps=(3,) if stem_feature else (),
        )
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.distilled, self.downstream = distilled, downstream
        first = dims[0]
        self.stem = nn.Sequential(
            ConvNorm(in_chans, first // 4, 3, 2, **dd),
            nn.ReLU(),
            ConvNorm(first // 4, first // 2, 3, 2, **dd),
            nn.ReLU(),
            ConvNorm(first // 2, first, 3, 2, **dd),
        )
        if stem_feature:
            self.feature_info = [{'num_chs': first // 2, 'reduction': 4, 'module': 'stem.3'}]
        last = 8 * 2 ** (len(dims) - 1)
        grid = DOWNSTREAM_GRID if downstream else tuple(-(-side // last) for side in pair(img_size))
        rates: Any = iter(calculate_drop_path_rates(drop_path_rate, sum(depths)))
        stages: list[Stage] = []
        for i, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            blocks = []
            for d in range(depth):
                rate = next(rates)
                if d % 2 == 0:
                    mixer = RepDepthwise(dim, **dd)
                elif i < len(dims) - 1:
                    mixer = LSConv(dim, rate, **dd)
                else:
                    mixer = Residual(Attention(dim, key_dim, num_heads, grid, downstream, **dd), rate)
                blocks.append(Block(dim, mixer, rate, **dd))
            before = dims[i - 1]
            down = [ConvNorm(before, before, 3, 2, groups=before, **dd), ConvNorm(before, dim, **dd)] if i else []
            stages.append(Stage(nn.Sequential(*down), blocks))
            self.feature_info.append({'num_chs': dim, 'reduction': 8 * 2**i, 'module': f'stages.{i}'})
        self.stages = nn.Sequential(*stages)
        self._finish(**dd)

    def make_head(self, in_features: int, num_classes: int, device=None, dtype=None) -> nn.Module:
        """Batch norm and linear map, twice in a distilled model."""
        return (DistilledHead if self.distilled else NormLinear)(in_features, num_classes, device=device, dtype=dtype)

    def no_weight_decay(self) -> set[str]:
        """The tables of attention biases."""
        return {name for name, _ in self.named_parameters() if name.endswith('attention_biases')}

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Feed-forward and attention branches start at zero; the heads initialise themselves."""
        if isinstance(module, FeedForward):
            nn.init.zeros_(module.project.norm.weight)
        elif isinstance(module, Attention):
            nn.init.zeros_(module.proj.norm.weight)


def _conv_norm(old: str, new: str) -> dict[str, str]:
    return {f'{old}.c.{{p}}': f'{new}.conv.{{p}}', f'{old}.bn.{{p}}': f'{new}.norm.{{p}}'}


def _block(old: str, new: str) -> dict[str, str | None]:
    """Rows of a block under `old`, ours under `new`, but for its attention."""
    return {
        **_conv_norm(f'{old}.mixer.conv', f'{new}.mixer.conv'),
        **_conv_norm(f'{old}.mixer.conv1', f'{new}.mixer.point'),
        f'{old}.se.{{fc}}.{{p}}': f'{new}.se.{{fc}}.{{p}}',
        **_conv_norm(f'{old}.mixer.lkp.cv1', f'{new}.mixer.perceive.reduce'),
        **_conv_norm(f'{old}.mixer.lkp.cv2', f'{new}.mixer.perceive.spatial'),
        **_conv_norm(f'{old}.mixer.lkp.cv3', f'{new}.mixer.perceive.mix'),
        f'{old}.mixer.lkp.cv4.{{p}}': f'{new}.mixer.perceive.predict.{{p}}',
        f'{old}.mixer.lkp.norm.{{p}}': f'{new}.mixer.perceive.norm.{{p}}',
        f'{old}.mixer.bn.{{p}}': f'{new}.mixer.norm.{{p}}',
        **_conv_norm(f'{old}.ffn.m.pw1', f'{new}.ffn.fn.expand'),
        **_conv_norm(f'{old}.ffn.m.pw2', f'{new}.ffn.fn.project'),
    }


KEYS: dict[str, str | None] = {
    **_conv_norm('patch_embed.{n}', 'stem.{n}'),
    **_block('blocks1.{b}', 'stages.0.blocks.{b}'),
    # the two downsampling convolutions count as blocks in the published files
    **_conv_norm('blocks{s}.{b}', 'stages.{s-1}.downsample.{b}'),
    **_block('blocks{s}.{b}', 'stages.{s-1}.blocks.{b-2}'),
    **_conv_norm('blocks4.{b}.mixer.m.qkv', 'stages.3.blocks.{b-2}.mixer.fn.qkv'),
    **_conv_norm('blocks4.{b}.mixer.m.dw', 'stages.3.blocks.{b-2}.mixer.fn.spatial'),
    **_conv_norm('blocks4.{b}.mixer.m.proj.1', 'stages.3.blocks.{b-2}.mixer.fn.proj'),
    'blocks4.{b}.mixer.m.attention_biases': 'stages.3.blocks.{b-2}.mixer.fn.attention_biases',
    'blocks4.{b}.mixer.m.attention_bias_idxs': None,
    'head.bn.{p}': 'head.norm.{p}',
    'head.l.{p}': 'head.linear.{p}',
    'head_dist.bn.{p}': 'head_dist.norm.{p}',
    'head_dist.l.{p}': 'head_dist.linear.{p}',
}


def checkpoint_filter_fn(checkpoint: Mapping, model: LSNet) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes.

    The published accuracy is that of the weights and not of their average, which a file of the training holds too.
    Classification weights for a `downstream` model have their bias tables resized bicubically, as the published
    detectors do; for another `img_size` they are resampled linearly over their distances.
    """
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        state = rename(state, KEYS)
        if model.distilled:
            state = {k.replace('head.', 'head.cls.').replace('head_dist.', 'head.dist.'): v for k, v in state.items()}
    own = model.state_dict()
    for key, table in state.items():
        if key.endswith('attention_biases') and key in own and table.shape != own[key].shape:
            attention: Any = model.get_submodule(key.rpartition('.')[0])
            side = math.isqrt(table.shape[1])  # published tables are square
            if side**2 == table.shape[1]:
                state[key] = _adapt_table(table.unflatten(1, (side, side)), attention.grid, model.downstream).flatten(1)
    return check_fit(model, state, adapt=('head', 'stem.0.conv'))


def _adapt_table(table: torch.Tensor, grid: tuple[int, int], bicubic: bool) -> torch.Tensor:
    if not bicubic:
        return _resize_table(table, *grid)
    rows, columns = (cubic_matrix(to, source, table) for to, source in zip(grid, table.shape[1:], strict=True))
    return rows @ table @ columns.mT


def _cfg(hub: str, classifier: str | tuple[str, ...] = 'head.linear', **kwargs: Any) -> dict[str, Any]:
    return {
        'hf_hub_id': f'jameslahm/{hub}',
        'hf_hub_filename': 'pytorch_model.bin',
        'num_classes': 1000,
        'input_size': (3, 224, 224),
        'pool_size': (4, 4),
        'crop_pct': 0.875,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.0.conv',
        'classifier': classifier,
        'license': 'mit',
        'origin_url': 'https://github.com/THU-MIG/lsnet',
        'paper_name': 'LSNet: See Large, Focus Small',
        'paper_ids': 'arXiv:2503.23135',
        **kwargs,
    }


_BOTH = ('head.cls.linear', 'head.dist.linear')

default_cfgs = generate_default_cfgs(
    {
        'lsnet_t.thu_in1k': _cfg('lsnet_t'),
        'lsnet_s.thu_in1k': _cfg('lsnet_s'),
        'lsnet_b.thu_in1k': _cfg('lsnet_b'),
        'lsnet_t_distill.thu_in1k': _cfg('lsnet_t_distill', _BOTH),
        'lsnet_s_distill.thu_in1k': _cfg('lsnet_s_distill', _BOTH),
        'lsnet_b_distill.thu_in1k': _cfg('lsnet_b_distill', _BOTH),
    }
)


def _lsnet(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(LSNet, variant, pretrained, checkpoint_filter_fn, **kwargs)


@register_model
def lsnet_t(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """LSNet-T, 11.4 M parameters, 0.3 G MACs at 224 x 224."""
    return _lsnet('lsnet_t', pretrained, **{'dims': (64, 128, 256, 384), 'depths': (0, 2, 8, 10), **kwargs})


@register_model
def lsnet_s(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """LSNet-S, 16.1 M parameters, 0.5 G MACs at 224 x 224."""
    return _lsnet('lsnet_s', pretrained, **{'dims': (96, 192, 320, 448), 'depths': (1, 2, 8, 10), **kwargs})


@register_model
def lsnet_b(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """LSNet-B, 23.3 M parameters, 1.2 G MACs at 224 x 224."""
    return _lsnet('lsnet_b', pretrained, **{'dims': (128, 256, 384, 512), 'depths': (4, 6, 8, 10), **kwargs})


@register_model
def lsnet_t_distill(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """LSNet-T with two averaged heads, 11.8 M parameters, 0.3 G MACs at 224 x 224."""
    args = {'dims': (64, 128, 256, 384), 'depths': (0, 2, 8, 10), 'distilled': True}
    return _lsnet('lsnet_t_distill', pretrained, **{**args, **kwargs})


@register_model
def lsnet_s_distill(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """LSNet-S with two averaged heads, 16.6 M parameters, 0.5 G MACs at 224 x 224."""
    args = {'dims': (96, 192, 320, 448), 'depths': (1, 2, 8, 10), 'distilled': True}
    return _lsnet('lsnet_s_distill', pretrained, **{**args, **kwargs})


@register_model
def lsnet_b_distill(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """LSNet-B with two averaged heads, 23.8 M parameters, 1.2 G MACs at 224 x 224."""
    args = {'dims': (128, 256, 384, 512), 'depths': (4, 6, 8, 10), 'distilled': True}
    return _lsnet('lsnet_b_distill', pretrained, **{**args, **kwargs})
