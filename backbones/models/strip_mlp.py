"""Strip-MLP: each row of a map, seen together with the rows above and below it, is mixed by one linear map, then each
column likewise; beside it a local branch, and channels are mixed behind a large depthwise convolution.

Paper: Strip-MLP: Efficient Token Interaction for Vision MLP, arXiv 2307.11458 (ICCV 2023).
Code: Med-Process/Strip_MLP@492d705 and Med-Process/MLP-DINO@3d79a76 (detection); no licence file, READMEs say MIT.
Differs: The code of the classifier takes square images of one size. Here, as in the code of the detector, the strips of
    a larger map are mixed in overlapping windows of the trained grid, and a trained grid need not be square. The code
    drops paths at rate 0.1 in every block, whatever its configuration says; here `drop_path_rate` says.

Shapes: B batch, C channels, D = C / 2 channels of a branch, H and W height and width of the map (in the strip branch:
    of a window), P patches that share their weights, G = D / P groups with weights of their own.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath, trunc_normal_
from timm.models import generate_default_cfgs, register_model
from torch import nn

from ..base import Stage, StagedBackbone, pair
from ..build import create
from ..keys import check_fit, is_ours, rename, unwrap
from ..layers import (
    BatchNorm2d,
    ResponseMlp,
    fuse_conv_norm,
    linear_matrix,
    overlap_merge,
    overlap_partition,
    pad_to_patches,
    require_eval,
)

__all__ = ['StripMLP']

TAPS = 3  # strips that are mixed together: one, and its neighbours


class StripLinear(nn.Module):
    """Mix the positions of a strip with those of its two neighbours, each group of channels with weights of its own.

    y[g, o, s] = b[g, o] + sum_{i, t} w[g, o, i, t] x[g, i, s + t],  t in {-1, 0, 1}, zeros beyond the last strip

    Args:
        groups: Groups G.
        length: Positions L of a strip.

    Shape:
        (N, G, L, S) -> (N, G, L, S) for S strips side by side.

    Source: Med-Process/Strip_MLP@492d705:models/strip_mlp.py:StripMLP_Block.proj_h
    """

    def __init__(self, groups: int, length: int, **dd: Any) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(groups * length, length, 1, TAPS, **dd))
        self.bias = nn.Parameter(torch.empty(groups * length, **dd))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = x.shape[2]
        x = x.permute(0, 3, 1, 2).contiguous()  # N S G L: a grouped convolution is fastest with channels last
        x = x.permute(0, 2, 3, 1).flatten(1, 2).unsqueeze(2)  # N G*L 1 S
        x = F.conv2d(x, self.weight, self.bias, padding=(0, TAPS // 2), groups=self.groups)
        return x.squeeze(2).unflatten(1, (self.groups, length))

    def reset_parameters(self) -> None:
        """Uniform in the range that PyTorch gives a convolution."""
        bound = (TAPS * self.weight.shape[1]) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)


class DiagonalPosition(nn.Module):
    """A learned value per channel and distance of column and row.

    p[d, y, x] = table[x - y + H, d]

    The two distances -H and W, which no position has, are kept since published tables hold them.

    Args:
        dim: Channels D.
        grid: (H, W) in positions.

    Source: Med-Process/Strip_MLP@492d705:models/strip_mlp.py:RelativePosition
    """

    def __init__(self, dim: int, grid: tuple[int, int], **dd: Any) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(sum(grid) + 1, dim, **dd))

    def forward(self, height: int, width: int) -> torch.Tensor:
        y, x = (torch.arange(side, device=self.table.device) for side in (height, width))
        return F.embedding(x - y[:, None] + height, self.table).permute(2, 0, 1)  # D H W


class PositionMap(nn.Module):
    """Deployed form of `DiagonalPosition`: the values of its grid laid out."""

    def __init__(self, position: torch.Tensor) -> None:
        super().__init__()
        self.position = nn.Parameter(position.detach().clone(memory_format=torch.contiguous_format))

    def forward(self, height: int, width: int) -> torch.Tensor:
        return self.position


class StripMixer(nn.Module):
    """Mix rows, then columns, in windows of the trained grid.

    v = rows(x + p_1)
    y = columns(GELU(BN(W (v || x))) + p_2)

    A map of another size is cut into overlapping windows, and what they give is averaged; a map of the grid is one
    window.

    Args:
        dim: Channels D.
        patches: Patches P.
        grid: (H, W) of a window in positions.

    Shape:
        (B, D, height, width) -> (B, D, height, width)

    Source: Med-Process/Strip_MLP@492d705:models/strip_mlp.py:StripMLP_Block.strip_mlp and, for the windows,
        Med-Process/MLP-DINO@3d79a76:models/dino/strip_mlp.py:SparseMLP_Block
    """

    def __init__(self, dim: int, patches: int, grid: tuple[int, int], **dd: Any) -> None:
        super().__init__()
        self.grid = grid
        groups, (height, width) = dim // patches, grid
        self.rows = StripLinear(groups, width, **dd)
        self.columns = StripLinear(groups, height, **dd)
        self.row_position: nn.Module = DiagonalPosition(dim, grid, **dd)
        self.column_position: nn.Module = DiagonalPosition(dim, grid, **dd)
        self.merge = nn.Conv2d(2 * dim, dim, 1, bias=False, **dd)
        self.norm: nn.Module = nn.BatchNorm2d(dim, **dd)
        self.act = nn.GELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        x = overlap_partition(x, self.grid)  # B*n D H W
        u = x + self.row_position(*self.grid).to(x.dtype)
        v = self._groups(u).transpose(2, 3)  # N G W H: rows are the strips
        v = self.rows(v).transpose(2, 3).reshape(x.shape)
        h = self.act(self.norm(self.merge(_cat(v, x))))
        h = h + self.column_position(*self.grid).to(x.dtype)
        v = self.columns(self._groups(h)).reshape(x.shape)
        return overlap_merge(v, height, width)

    def _groups(self, x: torch.Tensor) -> torch.Tensor:
        """(B, P*G, H, W) -> (B*P, G, H, W)"""
        return x.reshape(-1, self.rows.groups, *self.grid)

    @torch.no_grad()
    def set_grid(self, grid: tuple[int, int]) -> None:
        """Make all that depends on the grid anew, see `_resample`."""
        for name, value in _resample(dict(self.named_parameters()), grid).items():
            part, _, parameter = name.rpartition('.')
            old = self.get_parameter(name)
            setattr(self.get_submodule(part), parameter, nn.Parameter(value, old.requires_grad))
        self.grid = grid

    @torch.no_grad()
    def fuse(self) -> 'StripMixer':
        """The same with the norm inside the convolution and the positions laid out; its grid stays as it is."""
        require_eval(self)
        fused = copy.deepcopy(self)
        if isinstance(self.norm, nn.BatchNorm2d):
            fused.merge, fused.norm = fuse_conv_norm(self.merge, self.norm), nn.Identity()
            fused.row_position = PositionMap(self.row_position(*self.grid))
            fused.column_position = PositionMap(self.column_position(*self.grid))
        return fused.eval()


def _cat(*maps: torch.Tensor) -> torch.Tensor:
    """Maps side by side along their channels, which lie innermost in memory."""
    return torch.cat([x.contiguous(memory_format=torch.channels_last) for x in maps], 1)


def _resample(state: Mapping[str, torch.Tensor], grid: tuple[int, int]) -> dict[str, torch.Tensor]:
    """What of a `StripMixer`'s state depends on the grid, for another one.

    A strip is resampled linearly to the old length, mixed and resampled back: w' = R_out w R_in. Tables are resampled
    linearly over their distances, those left and right of the diagonal each on its own.
    """
    found: dict[str, torch.Tensor] = {}
    old = _grid(state)
    for name, source, to in zip(('columns', 'rows'), old, grid, strict=True):
        weight, bias = state[f'{name}.weight'], state[f'{name}.bias']
        back, there = linear_matrix(to, source, weight), linear_matrix(source, to, weight)
        weight = weight.reshape(-1, source, source, TAPS)  # G o i t
        found[f'{name}.weight'] = torch.einsum('po,goit,iq->gpqt', back, weight, there).reshape(-1, to, 1, TAPS)
        found[f'{name}.bias'] = (bias.reshape(-1, source) @ back.mT).flatten()
    for name in ('row_position.table', 'column_position.table'):
        table = state[name]
        left, right = table[1 : old[0] + 1].flip(0), table[old[0] : -1]  # both from the diagonal outwards
        left, right = (linear_matrix(to, len(t), t) @ t for to, t in zip(grid, (left, right), strict=True))
        found[name] = torch.cat([table[:1], left.flip(0), right[1:], table[-1:]])
    return found


def _grid(state: Mapping[str, torch.Tensor]) -> tuple[int, int]:
    """(H, W) that a `StripMixer`'s state is made for."""
    return state['columns.weight'].shape[1], state['rows.weight'].shape[1]


class LocalMixer(nn.Module):
    """Two depthwise convolutions and the map itself, weighted per channel and image.

    y = a_0 f_7x3(x) + a_1 f_3x7(x) + a_2 x,  a = softmax_3(W_2 GELU(W_1 mean(f_7x3(x) + f_3x7(x) + x)))

    Shape:
        (B, D, H, W) -> (B, D, H, W)

    Source: Med-Process/Strip_MLP@492d705:models/strip_mlp.py:StripMLP_Block.reweight
    """

    def __init__(self, dim: int, **dd: Any) -> None:
        super().__init__()
        self.wide = nn.Conv2d(dim, dim, (3, 7), padding=(1, 3), groups=dim, bias=False, **dd)
        self.tall = nn.Conv2d(dim, dim, (7, 3), padding=(3, 1), groups=dim, bias=False, **dd)
        self.fc1 = nn.Conv2d(dim, dim // 2, 1, **dd)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(dim // 2, 3 * dim, 1, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.tall(x), self.wide(x), x
        pooled = sum(t.mean((2, 3), keepdim=True) for t in maps)
        gates = self.fc2(self.act(self.fc1(pooled))).reshape(x.shape[0], -1, 3).softmax(2)  # B D 3
        tall, wide, same = (gate[:, :, None, None].to(x.dtype) for gate in gates.unbind(2))
        return torch.addcmul(torch.addcmul(maps[0] * tall, maps[1], wide), x, same)


class TokenMixer(nn.Module):
    """A strip branch for one half of the channels and a local branch for the other.

    (a || b) = GELU(BN(W_1 DW_3(GELU(BN(x)))))
    y = W_3 (W_2 (a || strips(a)) || local(b))

    Args:
        dim: Channels C.
        patches: Patches P of the strip branch.
        grid: (height, width) in positions that the strip branch is made for.

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: Med-Process/Strip_MLP@492d705:models/strip_mlp.py:TokenMixing
    """

    def __init__(self, dim: int, patches: int, grid: tuple[int, int], **dd: Any) -> None:
        super().__init__()
        self.norm: nn.Module = BatchNorm2d(dim, **dd)
        self.act = nn.GELU()
        self.spatial = nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False, **dd)
        self.expand = nn.Conv2d(dim, dim, 1, **dd)
        self.expand_norm: nn.Module = nn.BatchNorm2d(dim, **dd)
        self.strips = StripMixer(dim // 2, patches, grid, **dd)
        self.join_strips = nn.Conv2d(dim, dim // 2, 1, bias=False, **dd)
        self.local = LocalMixer(dim // 2, **dd)
        self.join = nn.Conv2d(dim, dim, 1, bias=False, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self._halves(x)
        return self.join(_cat(self.join_strips(_cat(a, self.strips(a))), self.local(b)))

    def _halves(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.spatial(self.act(self.norm(x)))
        return self.act(self.expand_norm(self.expand(x))).chunk(2, 1)

    def fuse(self) -> 'FusedTokenMixer':
        """The same with one convolution for what joins the branches."""
        return FusedTokenMixer(self)


class FusedTokenMixer(nn.Module):
    """Deployed form of `TokenMixer`: y = W_3' (a || strips(a) || local(b)), no norms behind convolutions."""

    def __init__(self, mixer: TokenMixer) -> None:
        super().__init__()
        require_eval(mixer)
        mixer = copy.deepcopy(mixer)
        norm: Any = mixer.norm
        self.norm, self.act, self.spatial = norm.fuse(), mixer.act, mixer.spatial
        expand_norm: Any = mixer.expand_norm
        self.expand = fuse_conv_norm(mixer.expand, expand_norm)
        self.strips, self.local = mixer.strips.fuse(), mixer.local
        self.join = _chain(mixer.join_strips, mixer.join)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.act(self.expand(self.spatial(self.act(self.norm(x))))).chunk(2, 1)
        return self.join(_cat(a, self.strips(a), self.local(b)))


@torch.no_grad()
def _chain(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """One 1 x 1 convolution that equals `second(first(x) || y)` on x || y."""
    half = first.out_channels
    rest = second.in_channels - half
    kind = {'device': second.weight.device, 'dtype': second.weight.dtype}
    conv = nn.Conv2d(first.in_channels + rest, second.out_channels, 1, bias=False, **kind)
    inner, outer = (layer.weight.double().flatten(1) for layer in (first, second))
    conv.weight.copy_(torch.cat([outer[:, :half] @ inner, outer[:, half:]], 1)[:, :, None, None])
    return conv


class ChannelMixer(nn.Module):
    """A large depthwise convolution, then channels are mixed at every position.

    y = MLP(DW_7(x))

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: Med-Process/Strip_MLP@492d705:models/strip_mlp.py:ChannelMixing
    """

    def __init__(self, dim: int, hidden: int, **dd: Any) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(dim, dim, 7, padding=3, groups=dim, bias=False, **dd)
        self.mlp = ResponseMlp(dim, hidden, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.spatial(x).permute(0, 2, 3, 1).contiguous()  # B H W C
        return self.mlp(x).permute(0, 3, 1, 2)


class Block(nn.Module):
    """Token mixer, then channel mixer: z = x + f(x), y = z + g(z).

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: Med-Process/Strip_MLP@492d705:models/strip_mlp.py:BasicBlock
    """

    def __init__(self, tokens: nn.Module, channels: nn.Module, drop_path: float = 0.0) -> None:
        super().__init__()
        self.tokens, self.channels = tokens, channels
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.drop_path(self.tokens(x))
        return x + self.drop_path(self.channels(x))


class Patches(nn.Module):
    """Convolution over patches that do not overlap; what is left at the right and the bottom is filled with zeros.

    Shape:
        (B, in_chs, H, W) -> (B, out_chs, ceil(H / side), ceil(W / side))
    """

    def __init__(self, in_chs: int, out_chs: int, side: int, groups: int = 1, **dd: Any) -> None:
        super().__init__()
        self.side = side
        self.conv = nn.Conv2d(in_chs, out_chs, side, side, groups=groups, bias=False, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(pad_to_patches(x, self.side).contiguous(memory_format=torch.channels_last))


class MultiPathDownsample(nn.Module):
    """Halve a map, add the paths that end here, and send copies of it down to the stages behind the next one.

    z = W x;  p_1 = W_1 z, p_2 = W_2 p_1, ...
    y = z + q_0, then the paths p_1 + q_1, p_2 + q_2, ...  for the paths q that came with x

    Args:
        in_chs: Channels of the input.
        paths: Stages behind the next one. Each path doubles the channels, every channel on its own.

    Shape:
        (B, C, H, W) and paths, halved once, twice, ... -> (B, 2 C, H / 2, W / 2) and the paths that go on

    Source: Med-Process/Strip_MLP@492d705:models/strip_mlp.py:StripMLPNet.forward_features
    """

    def __init__(self, in_chs: int, paths: int, **dd: Any) -> None:
        super().__init__()
        self.merge = Patches(in_chs, 2 * in_chs, 2, **dd)
        widths = [in_chs * 2 ** (i + 1) for i in range(paths)]
        self.paths = nn.Sequential(*[Patches(width, 2 * width, 2, groups=width, **dd) for width in widths])

    def forward(self, x: Any) -> Any:
        x, *ending = x if isinstance(x, tuple) else (x,)
        x = self.merge(x)
        paths = [x]
        for path in self.paths:
            paths.append(path(paths[-1]))
        if ending:
            paths = [a + b for a, b in zip(paths, ending, strict=True)]
        return tuple(paths) if len(paths) > 1 else paths[0]


class StripMLP(StagedBackbone):
    """Strip-MLP at strides 4, 8, 16 and 32.

    Args:
        embed_dim: Channels of the first stage; each stage doubles them.
        depths: Blocks of the stages.
        mlp_ratio: Width of the channel mixer's hidden layer over its channels.
        patches: Patches P of the strip branches. The published rule is 2 where 80 divides the channels, as in the tiny
            models, and 4 elsewhere.
        img_size: Side or (height, width) in pixels that the strips are made for; a map of another size is mixed in
            windows of that grid.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth in every block alike (0.1 as published).

    Raises:
        ValueError: `patches` does not divide half of the channels.

    Source: Med-Process/Strip_MLP@492d705:models/strip_mlp.py:StripMLPNet
    """

    feature_norm = True

    def __init__(
        self,
        embed_dim: int = 80,
        depths: Sequence[int] = (2, 2, 12, 2),
        mlp_ratio: float = 3.0,
        patches: int = 2,
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
            num_classes=num_classes, in_chans=in_chans, global_pool=global_pool, drop_rate=drop_rate, img_size=img_size
        )
        if embed_dim % (2 * patches):
            raise ValueError(f'embed_dim must be a multiple of 2 x patches = {2 * patches}, but got {embed_dim}.')
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.stem = Patches(in_chans, embed_dim, 4, **dd)
        stages: list[Stage] = []
        for i, depth in enumerate(depths):
            dim, stride = embed_dim * 2**i, 4 * 2**i
            height, width = (-(-side // stride) for side in pair(img_size))
            down = MultiPathDownsample(dim // 2, len(depths) - 1 - i, **dd) if i else nn.Identity()
            blocks = [
                Block(
                    TokenMixer(dim, patches, (height, width), **dd),
                    ChannelMixer(dim, int(mlp_ratio * dim), **dd),
                    drop_path_rate,
                )
                for _ in range(depth)
            ]
            stages.append(Stage(down, blocks))
            self.feature_info.append({'num_chs': dim, 'reduction': stride, 'module': f'stages.{i}'})
        self.stages = nn.Sequential(*stages)
        self.norm = BatchNorm2d(self.feature_info[-1]['num_chs'], **dd)
        self._finish(**dd)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """As the base, and without the paths to stages that are gone."""
        taken = super().prune_intermediate_layers(indices, prune_norm, prune_head)
        before = self.state_dict().keys()
        for i, stage in enumerate(self.stages[1:], start=1):
            stage.downsample.paths = stage.downsample.paths[: len(self.stages) - 1 - i]
        self.pruned += tuple(before - self.state_dict().keys())
        return taken

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Position tables small, all else as PyTorch does; response norms start as the identity."""
        if isinstance(module, DiagonalPosition):
            trunc_normal_(module.table, std=0.02)
        elif isinstance(module, StripLinear):
            module.reset_parameters()


_OLD, _NEW = 'blocks{s}.{b}', 'stages.{s-1}.blocks.{b}'
_STRIP, _MIX = f'{_OLD}.token_mixing.smlp_block', f'{_OLD}.channel_mixing'

KEYS: dict[str, str | None] = {
    'patch_embed.weight': 'stem.conv.weight',
    'merging{s}.weight': 'stages.{s}.downsample.merge.conv.weight',
    'conv_s1_28.weight': 'stages.1.downsample.paths.0.conv.weight',
    'conv_s1_14.weight': 'stages.1.downsample.paths.1.conv.weight',
    'conv_s2_14.weight': 'stages.2.downsample.paths.0.conv.weight',
    f'{_OLD}.token_mixing.dwsc.conv_merge.BN.{{p}}': f'{_NEW}.tokens.norm.{{p}}',
    f'{_OLD}.token_mixing.dwsc.conv_merge.Conv.{{p}}': f'{_NEW}.tokens.spatial.{{p}}',
    f'{_STRIP}.mlp.0.{{p}}': f'{_NEW}.tokens.expand.{{p}}',
    f'{_STRIP}.mlp.1.{{p}}': f'{_NEW}.tokens.expand_norm.{{p}}',
    f'{_STRIP}.proj_h.{{p}}': f'{_NEW}.tokens.strips.rows.{{p}}',
    f'{_STRIP}.proj_w.{{p}}': f'{_NEW}.tokens.strips.columns.{{p}}',
    f'{_STRIP}.relate_pos_h.embeddings_table': f'{_NEW}.tokens.strips.row_position.table',
    f'{_STRIP}.relate_pos_w.embeddings_table': f'{_NEW}.tokens.strips.column_position.table',
    f'{_STRIP}.fuse_h.{{p}}': f'{_NEW}.tokens.strips.merge.{{p}}',
    f'{_STRIP}.BN.{{p}}': f'{_NEW}.tokens.strips.norm.{{p}}',
    f'{_STRIP}.fuse_w.{{p}}': f'{_NEW}.tokens.join_strips.{{p}}',
    f'{_STRIP}.fc_h.{{p}}': f'{_NEW}.tokens.local.wide.{{p}}',
    f'{_STRIP}.fc_w.{{p}}': f'{_NEW}.tokens.local.tall.{{p}}',
    f'{_STRIP}.reweight.{{fc}}.{{p}}': f'{_NEW}.tokens.local.{{fc}}.{{p}}',
    f'{_STRIP}.fuse.{{p}}': f'{_NEW}.tokens.join.{{p}}',
    f'{_MIX}.conv_77.{{p}}': f'{_NEW}.channels.spatial.{{p}}',
    f'{_MIX}.layer_norm.{{p}}': f'{_NEW}.channels.mlp.norm.{{p}}',
    f'{_MIX}.grn.{{p}}': f'{_NEW}.channels.mlp.{{p}}',
    f'{_MIX}.{{fc}}.{{p}}': f'{_NEW}.channels.mlp.{{fc}}.{{p}}',
    'norm.{p}': 'norm.{p}',
    'head.{p}': 'head.{p}',
}

# the detector's code spells one name in another way
SPELLINGS: dict[str, str | None] = {'{block...}.proh_w.{p}': '{block}.proj_w.{p}', '{key...}': '{key}'}


def checkpoint_filter_fn(checkpoint: Mapping, model: StripMLP) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes.

    Both spellings of the published keys are read. For another `img_size` what depends on the grid is resampled.
    """
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        state = rename(rename(state, SPELLINGS), KEYS)
        state = {k: v.flatten() if k.endswith(('.gamma', '.beta')) else v for k, v in state.items()}
    for name, module in model.named_modules():
        if isinstance(module, StripMixer):
            own = {key: state[f'{name}.{key}'] for key in module.state_dict() if f'{name}.{key}' in state}
            if len(own) == len(module.state_dict()) and _grid(own) != module.grid:
                state |= {f'{name}.{key}': value for key, value in _resample(own, module.grid).items()}
    return check_fit(model, state, adapt=('head', 'stem.conv'))


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        'num_classes': 1000,
        'input_size': (3, 224, 224),
        'pool_size': (7, 7),
        'crop_pct': 0.875,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.conv',
        'classifier': 'head',
        'license': 'mit',
        'origin_url': 'https://github.com/Med-Process/Strip_MLP',
        'paper_name': 'Strip-MLP: Efficient Token Interaction for Vision MLP',
        'paper_ids': 'arXiv:2307.11458',
        **kwargs,
    }


# no published file has an address that a program can fetch: checkpoints/index.yaml says where they lie
default_cfgs = generate_default_cfgs(
    {
        'strip_mlp_tiny_light.orga_in1k': _cfg(),
        'strip_mlp_tiny.orga_in1k': _cfg(),
        'strip_mlp_small.orga_in1k': _cfg(),
        'strip_mlp_base.orga_in1k': _cfg(),
    }
)


def _strip_mlp(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(StripMLP, variant, pretrained, checkpoint_filter_fn, **kwargs)


@register_model
def strip_mlp_tiny_light(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Strip-MLP-T*, 18.2 M parameters, 2.5 G MACs at 224 x 224."""
    args = {'embed_dim': 80, 'depths': (2, 2, 6, 2), 'patches': 2}
    return _strip_mlp('strip_mlp_tiny_light', pretrained, **{**args, **kwargs})


@register_model
def strip_mlp_tiny(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Strip-MLP-T, 24.9 M parameters, 3.7 G MACs at 224 x 224."""
    args = {'embed_dim': 80, 'depths': (2, 2, 12, 2), 'patches': 2}
    return _strip_mlp('strip_mlp_tiny', pretrained, **{**args, **kwargs})


@register_model
def strip_mlp_small(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Strip-MLP-S, 42.6 M parameters, 6.8 G MACs at 224 x 224."""
    args = {'embed_dim': 96, 'depths': (2, 2, 18, 2), 'patches': 4}
    return _strip_mlp('strip_mlp_small', pretrained, **{**args, **kwargs})


@register_model
def strip_mlp_base(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Strip-MLP-B, 57.2 M parameters, 9.2 G MACs at 224 x 224."""
    args = {'embed_dim': 112, 'depths': (2, 2, 18, 2), 'patches': 4}
    return _strip_mlp('strip_mlp_base', pretrained, **{**args, **kwargs})
