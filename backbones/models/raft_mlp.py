"""RaftMLP: token mixing along the columns, then along the rows of a map, each over all positions of a line and a raft
of r groups of channels at once. Patches of several sizes, embedded together, give neighbours a common part.

Paper: RaftMLP: How Much Can Be Done Without Attention and with Less Spatial Locality?, arXiv 2108.04384 (ACCV 2022).
Code: okojoalg/raft-mlp@6060d5d, Apache-2.0.
Differs: The maps stay channels last here and no map is unfolded: the patches of several sizes are one convolution
    whose kernel is the sum of all. Vectors of the token mixers run over the position first and the raft
    inside it, and norms have the natural order of channels; published weights are reordered. The code's `shortcut`, a
    classifier on all levels, and its dropout are used by none of its configurations and are left out.

The weights of a token mixer belong to one grid. On another one the map is resized to it bicubically and back, as
published; `img_size` and `set_input_size` instead resample the weights once, and then no map is resized at that size.

Shapes: B batch, H and W height and width of the map, C channels, r groups of channels in a raft, c = C / r, N positions
    and groups that are mixed.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath
from timm.models import generate_default_cfgs, register_model
from torch import nn

from ..base import Stage, StagedBackbone, pair
from ..build import create
from ..keys import check_fit, is_ours, rename, unwrap
from ..layers import NormMlp, apply_sides, cubic_matrix, cubic_taps, require_eval, resize_map, zero_pad

__all__ = ['RaftMLP']

Grid = tuple[int, int]
Matrix = torch.Tensor | None
Sides = tuple[Matrix, Matrix]  # tall (H', H) and wide (W', W); None leaves a side as it is


class ChannelsLast(nn.Module):
    """(B, C, H, W) -> (B, H, W, C), with the channels of a pixel side by side in memory"""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).contiguous()


class PatchEmbedding(nn.Module):
    """Patches of one or several sizes around each position, projected and added.

    y = b + sum_k W_k * x, with a stride of p = min(k) and (k - p) / 2 zeros at each border

    A convolution is linear in its kernel, so this is one convolution by the sum of all W_k, centred. A map whose sides
    are no multiples of p is resized to the next ones.

    Args:
        in_dim: Channels of the input.
        dim: Channels of the output.
        kernels: Sides k of the patches in positions, multiples of the first, which is the least.

    Shape:
        (B, H, W, in_dim) -> (B, ceil(H / p), ceil(W / p), dim)

    Source: okojoalg/raft-mlp@6060d5d:libs/modules.py:CrossScaleMLPEmbedding
    """

    def __init__(self, in_dim: int, dim: int, kernels: Sequence[int], patch: int | None = None, **dd: Any) -> None:
        super().__init__()
        self.kernels = tuple(kernels)
        self.patch = patch or min(kernels)
        self.weight = nn.Parameter(torch.empty(dim, in_dim, 1, sum(k * k for k in kernels), **dd))
        self.bias = nn.Parameter(torch.empty(dim, **dd))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patch = self.patch  # rounded up without negative numbers, whose quotient ONNX rounds the other way
        x = resize_map(x, *((side + patch - 1) // patch * patch for side in x.shape[1:3]))
        kernel = self.kernel()
        padding = (kernel.shape[-1] - self.patch) // 2
        x = F.conv2d(x.permute(0, 3, 1, 2), kernel, self.bias, self.patch, padding)
        return x.permute(0, 2, 3, 1)

    def kernel(self) -> torch.Tensor:
        """The sum of the kernels (dim, in_dim, K, K), each in the middle of the largest."""
        largest = max(self.kernels)
        parts = self.weight.squeeze(2).split([k * k for k in self.kernels], 2)  # dim in_dim taps, for each kernel
        squares = [part.unflatten(2, (k, k)) for part, k in zip(parts, self.kernels, strict=True)]
        first, *others = (zero_pad(s, ((largest - s.shape[2]) // 2,) * 4) for s in squares)
        kernel = sum(others, start=first)
        return kernel.contiguous(memory_format=torch.channels_last)  # as the map is, or each pass copies it

    @torch.no_grad()
    def fuse(self) -> 'PatchEmbedding':
        """The same with the sum of the kernels as its only one."""
        require_eval(self)
        dim, in_dim, side, _ = self.kernel().shape
        dd: dict[str, Any] = {'device': self.weight.device, 'dtype': self.weight.dtype}
        fused = PatchEmbedding(in_dim, dim, (side,), self.patch, **dd).eval()
        fused.weight.copy_(self.kernel().reshape(fused.weight.shape))
        fused.bias.copy_(self.bias)
        return fused


class TokenMixer(nn.Module):
    """Token mixing over all N = H W positions of a grid, the same for each channel.

    y = W_2 GELU(W_1 LN(x) + b_1) + b_2 along the positions

    What a mixer gives may be resized at once, by a matrix for each side: that is a linear map too, and costs less
    inside of the mixer than behind it.

    Args:
        dim: Channels C.
        grid: (height, width) in positions that the weights are for.
        trained: Grid that fixes the hidden width.
        ratio: Hidden width over N on that grid.
        raft: Groups of channels r that are mixed with the positions.

    Shape:
        (B, H, W, C), matrices (H', H) and (W', W) -> (B, H', W', C); H and W are those of the grid.

    Source: okojoalg/raft-mlp@6060d5d:libs/modules.py:TokenBlock
    """

    def __init__(self, dim: int, grid: Grid, trained: Grid, ratio: int, raft: int = 1, **dd: Any) -> None:
        super().__init__()
        self.grid, self.raft = grid, raft
        hidden = ratio * raft * math.prod(self.mixed(trained))
        self.norm = nn.LayerNorm(dim, **dd)
        self.fc1 = nn.Linear(raft * math.prod(self.mixed(grid)), hidden, **dd)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, raft * math.prod(self.mixed(grid)), **dd)

    @staticmethod
    def mixed(grid: Grid) -> Grid:
        """The (height, width) of what is mixed on a grid: one of its sides or both."""
        return grid

    def first(self, x: torch.Tensor) -> torch.Tensor:
        """Hidden layer: (B, N, M) -> (B, hidden, M)"""
        return self.act(_left(self.fc1.weight, self.fc1.bias, x))

    def second(self, x: torch.Tensor, tall: Matrix = None, wide: Matrix = None) -> torch.Tensor:
        """(B, hidden, M) -> (B, N', M)"""
        sides = self.mixed(self.grid)
        weight, bias = (_fold(value, sides, tall, wide) for value in (self.fc2.weight, self.fc2.bias))
        return _left(weight, bias, x)

    def forward(self, x: torch.Tensor, tall: Matrix = None, wide: Matrix = None) -> torch.Tensor:
        y = self.first(self.norm(x).flatten(1, 2))  # B hidden C
        return self.second(y, tall, wide).unflatten(1, (x.shape[1] if tall is None else len(tall), -1))

    @torch.no_grad()
    def set_grid(self, grid: Grid) -> None:
        """Resample the weights for another grid, so that they take and give its map as they are."""
        if grid != self.grid:
            old, new = self.mixed(self.grid), self.mixed(grid)
            values = self.fc1.weight, self.fc2.weight, self.fc2.bias
            self.fc1.weight, self.fc2.weight, self.fc2.bias = (
                nn.Parameter(value, before.requires_grad)
                for value, before in zip(resample(*values, old, new), values, strict=True)
            )
            self.fc1.in_features = self.fc2.out_features = len(self.fc2.bias)
            self.grid = grid


class VerticalMixer(TokenMixer):
    """Token mixing along the columns: over N = H r entries, the same for each column and each of the c channels.

    Shape:
        (B, H, W, C), matrix (H', H) -> (B, H', W, C); H and W are those of the grid.

    Source: okojoalg/raft-mlp@6060d5d:libs/modules.py:PermutedBlock
    """

    @staticmethod
    def mixed(grid: Grid) -> Grid:
        return grid[0], 1

    def forward(self, x: torch.Tensor, tall: Matrix = None, wide: Matrix = None) -> torch.Tensor:
        assert wide is None
        batch, height, width, dim = x.shape
        raft, chans = self.raft, dim // self.raft
        y = self.norm(x).reshape(-1, width, raft, chans).transpose(1, 2)  # B*H r W c
        y = self.second(self.first(y.reshape(batch, height * raft, width * chans)), tall)  # B H'*r W*c
        y = y.reshape(-1, raft, width, chans).transpose(1, 2)  # B*H' W r c
        return y.reshape(batch, -1, width, dim)


class HorizontalMixer(TokenMixer):
    """Token mixing along the rows: over N = W r entries, the same for each row and each of the c channels.

    Shape:
        (B, H, W, C), matrices (H', H) and (W', W) -> (B, H', W', C); W is that of the grid.

    Source: okojoalg/raft-mlp@6060d5d:libs/modules.py:PermutedBlock
    """

    @staticmethod
    def mixed(grid: Grid) -> Grid:
        return 1, grid[1]

    def forward(self, x: torch.Tensor, tall: Matrix = None, wide: Matrix = None) -> torch.Tensor:
        batch, height, width, dim = x.shape
        raft, chans = self.raft, dim // self.raft
        y = self.norm(x).reshape(batch, height, width * raft, chans).transpose(1, 2)  # B W*r H c
        y = self.first(y.reshape(batch, width * raft, height * chans))  # B hidden H*c
        if tall is not None:
            y, height = (tall @ y.unflatten(2, (height, chans))).flatten(2), len(tall)  # B hidden H'*c
        y = self.second(y, None, wide).unflatten(2, (height, chans)).transpose(1, 2)  # B H' W'*r c
        return y.reshape(batch, height, -1, dim)


def _left(weight: torch.Tensor, bias: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """W x + b along axis 1 of (B, N, M); matmul would transpose x while the weight learns."""
    return torch.bmm(weight.expand(x.shape[0], -1, -1), x).add_(bias[:, None])


def _fold(value: torch.Tensor, sides: Grid, tall: Matrix, wide: Matrix) -> torch.Tensor:
    """Matrices on the positions, put into a weight (N, hidden) or a bias (N) that gives them, rows first, raft last."""
    if tall is None and wide is None:
        return value
    return apply_sides(value.reshape(1, *sides, -1), tall, wide).reshape(-1, *value.shape[1:])


def resample(
    first: torch.Tensor, second: torch.Tensor, bias: torch.Tensor, old: Grid, new: Grid
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights of a token mixer for another grid: the two resizes of the map, folded into its linear layers.

    W_1' = W_1 R_{new -> old};  W_2' = R_{old -> new} W_2;  b_2' = R_{old -> new} b_2

    Args:
        first: Weight (hidden, N) of the first layer, N running over rows, columns and the raft.
        second: Weight (N, hidden) of the second.
        bias: Bias (N) of the second.
        old: (height, width) of what is mixed.
        new: The same on the other grid.
    """
    into = [cubic_matrix(source, to, first).mT for source, to in zip(old, new, strict=True)]
    back = [cubic_matrix(to, source, first) for source, to in zip(old, new, strict=True)]
    return _fold(first.mT, old, *into).mT.contiguous(), _fold(second, old, *back), _fold(bias, old, *back)


class Block(nn.Module):
    """Token mixers on their grid, then the channel mixer, each in a residual branch.

    t = resize(x, grid);  t = t + M(t) for each token mixer M;  z = resize(t, H x W);  y = z + MLP(LN(z))

    The residual path goes through both resizes. There is none where the map has the size of the grid.

    Args:
        branches: Token mixers, then the channel mixer.
        drop_path: Rate of stochastic depth of each branch.

    Shape:
        (B, H, W, C) -> (B, H, W, C)

    Source: okojoalg/raft-mlp@6060d5d:libs/modules.py:SerialPermutedLevel
    """

    def __init__(self, branches: Sequence[nn.Module], drop_path: float = 0.0) -> None:
        super().__init__()
        self.branches: Any = nn.ModuleList(branches)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixers: list[Any] = list(self.branches)
        mlp = mixers.pop()
        height, width = x.shape[1:3]
        x = resize_map(x, *mixers[0].grid)
        for mixer, sides in zip(mixers, _shrink(mixers, height, width, x), strict=True):
            x = apply_sides(x, *sides) + self.drop_path(mixer(x, *sides))
        x = resize_map(x, height, width)
        return x + self.drop_path(mlp(x))


def _shrink(mixers: Sequence[Any], height: Any, width: Any, like: torch.Tensor) -> list[Sides]:
    """The resize from the grid to a smaller map, as matrices on what each mixer gives; none where it is not smaller.

    The last mixer does it. Rows that it does not look at are not made by the one before, which mixes the columns.
    """
    rows, columns = mixers[0].grid
    none: Sides = (None, None)
    if not (isinstance(height, int) and isinstance(width, int) and height < rows and width < columns):
        return [none] * len(mixers)  # a traced graph must not branch on a symbol
    tall, wide = cubic_matrix(height, rows, like), cubic_matrix(width, columns, like)
    if len(mixers) == 1 or 4 * height >= rows:
        return [*[none] * (len(mixers) - 1), (tall, wide)]
    weight, place = cubic_taps(height, rows, like)
    taken = place.flatten()[:, None] == torch.arange(rows, device=like.device)  # 4*height rows
    summed = torch.eye(height, device=like.device)[:, :, None] * weight  # height height 4
    return [(taken.to(like.dtype), None), (summed.flatten(1).to(like.dtype), wide)]


class RaftMLP(StagedBackbone):
    """RaftMLP of several levels (strides 4, 8, 16 and 32 as published), or of one, where each block is a level.

    Args:
        dims: Channels of the levels.
        depths: Blocks of the levels.
        kernels: Sides of the patches that are embedded into each level, in positions of the level before; the least of
            a level is its stride.
        raft_size: Groups of channels r that are mixed with the positions of a line; None mixes all positions of the map
            at once, as MLP-Mixer does.
        token_ratio: Hidden width of the token mixers over what they mix.
        mlp_ratio: Hidden width of the channel mixers over the channels.
        downstream: Give the maps that the published detectors and segmentors take: that behind the first embedding,
            before any block, in place of the first level's, or, for models of one level, beside those of the blocks.
        pretrained_size: Side in pixels whose grids fix the hidden widths of the token mixers, and the grids too where
            no `img_size` is given.
        img_size: Side or (height, width) in pixels that the token mixers' weights are made for; any other size works
            too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth, the same in all blocks (0.1 as published).

    Source: okojoalg/raft-mlp@6060d5d:libs/models.py:RaftMLP and backbones/__init__.py:DetRaftMLP
    """

    def __init__(
        self,
        dims: Sequence[int] = (64, 128, 256, 512),
        depths: Sequence[int] = (2, 2, 6, 2),
        kernels: Sequence[Sequence[int]] = ((4, 8), (2, 4), (2, 4), (2,)),
        raft_size: int | None = 2,
        token_ratio: int = 2,
        mlp_ratio: int = 4,
        downstream: bool = False,
        pretrained_size: int = 224,
        img_size: int | Sequence[int] | None = None,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device=None,
        dtype=None,
    ) -> None:
        flat = len(dims) == 1
        super().__init__(
            num_classes=num_classes,
            in_chans=in_chans,
            global_pool=global_pool,
            drop_rate=drop_rate,
            img_size=img_size or pretrained_size,
            layout='NHWC',
            stem_taps=(1,) if downstream and flat else (),
            early_taps=(0,) if downstream and not flat else (),
        )
        if any(dim % (raft_size or 1) for dim in dims):
            raise ValueError(f'Channels must be multiples of raft_size, but got dims={dims} and raft_size={raft_size}.')
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.downstream = downstream
        self.stem = nn.Sequential(ChannelsLast(), PatchEmbedding(in_chans, dims[0], kernels[0], **dd))
        grid, trained, reduction = self.img_size, pair(pretrained_size), 1
        stages: list[nn.Module] = []
        for i, (dim, depth, sides) in enumerate(zip(dims, depths, kernels, strict=True)):
            reduction *= min(sides)
            grid, trained = (tuple(-(-side // min(sides)) for side in size) for size in (grid, trained))
            branches = partial(_branches, dim, grid, trained, raft_size, token_ratio, mlp_ratio, **dd)
            blocks = [Block(branches(), drop_path_rate) for _ in range(depth)]
            embedding = PatchEmbedding(dims[i - 1], dim, sides, **dd) if i else nn.Identity()
            level = {'num_chs': dim, 'reduction': reduction}
            if flat:
                stages += blocks
                names = [*(['stem.1'] if downstream else []), *(f'stages.{b}' for b in range(depth))]
            else:
                stages.append(Stage(embedding, blocks))
                names = [f'stages.{i}' if i or not downstream else 'stages.0.downsample']
            self.feature_info += [{**level, 'module': name} for name in names]
        self.stages = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(dims[-1], **dd)
        self._finish(**dd)

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """PyTorch's defaults everywhere; an embedding is a linear layer on what its kernels see."""
        if isinstance(module, PatchEmbedding):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            bound = module.weight[0].numel() ** -0.5
            nn.init.uniform_(module.bias, -bound, bound)


def _branches(
    dim: int, grid: Grid, trained: Grid, raft_size: int | None, token_ratio: int, mlp_ratio: int, **dd: Any
) -> list[nn.Module]:
    """Token mixers and the channel mixer of one block."""
    mixers = (VerticalMixer, HorizontalMixer) if raft_size else (TokenMixer,)
    tokens = [mixer(dim, grid, trained, token_ratio, raft_size or 1, **dd) for mixer in mixers]
    return [*tokens, NormMlp(dim, mlp_ratio * dim, **dd)]


_BLOCK = 'stages.{l}.blocks.{b-2}.branches'
KEYS: dict[str, str | None] = {
    'levels.0.fn.0.fc.{p}': 'stem.1.{p}',
    'levels.0.fn.1.{p}': 'stem.1.{p}',
    'levels.{l}.fn.0.fc.{p}': 'stages.{l}.downsample.{p}',
    'levels.{l}.fn.1.{p}': 'stages.{l}.downsample.{p}',
    'levels.{l}.fn.{b}.1.norm.1.{p}': f'{_BLOCK}.0.norm.{{p}}',
    'levels.{l}.fn.{b}.1.fn.0.{p}': f'{_BLOCK}.0.fc1.{{p}}',
    'levels.{l}.fn.{b}.1.fn.3.{p}': f'{_BLOCK}.0.fc2.{{p}}',
    # the horizontal mixer, or the channel mixer where one mixer takes all positions
    'levels.{l}.fn.{b}.3.norm.1.{p}': f'{_BLOCK}.1.norm.{{p}}',
    'levels.{l}.fn.{b}.3.norm.{p}': f'{_BLOCK}.1.norm.{{p}}',
    'levels.{l}.fn.{b}.3.fn.0.{p}': f'{_BLOCK}.1.fc1.{{p}}',
    'levels.{l}.fn.{b}.3.fn.3.{p}': f'{_BLOCK}.1.fc2.{{p}}',
    'levels.{l}.fn.{b}.5.norm.{p}': f'{_BLOCK}.2.norm.{{p}}',
    'levels.{l}.fn.{b}.5.fn.0.{p}': f'{_BLOCK}.2.fc1.{{p}}',
    'levels.{l}.fn.{b}.5.fn.3.{p}': f'{_BLOCK}.2.fc2.{{p}}',
    'heads.0.1.{p}': 'norm.{p}',
    'classifier.{p}': 'head.{p}',
}
BLOCKS_ALONE = {'stages.0.blocks.{rest...}': 'stages.{rest}', '{rest...}': '{rest}'}  # of a model of one level


def checkpoint_filter_fn(checkpoint: Mapping, model: RaftMLP) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes.

    The weights of token mixers are resampled for the grids of `model`, as `set_input_size` does.
    """
    state = unwrap(checkpoint, model.published)
    modules = dict(model.named_modules())
    if not is_ours(model, state):
        patches = 'levels.0.fn.1.weight' in state
        state = rename(state, KEYS)
        if not isinstance(model.stages[0], Stage):
            state = rename(state, BLOCKS_ALONE)
        for key, value in state.items():
            path, _, name = key.rpartition('.')
            module = modules.get(path)
            if isinstance(module, PatchEmbedding) and name == 'weight':
                state[key] = _kernels(value, module, patches)
            elif isinstance(owner := modules.get(path.rpartition('.')[0]), TokenMixer):
                state[key] = _natural(f'{path.rpartition(".")[2]}.{name}', value, owner.raft)
    for path, module in modules.items():
        if isinstance(module, TokenMixer):
            _fit_grid(state, path, module)
    return check_fit(model, state, adapt=('head', 'stem.1'))


def _kernels(value: torch.Tensor, module: PatchEmbedding, patches: bool) -> torch.Tensor:
    """Weight of a published embedding (dim, inputs) as (dim, in_dim, 1, taps).

    Its inputs run over the kernels, then channels, rows and columns; of plain `patches` over rows, columns, channels.
    """
    taps = [k * k for k in module.kernels]
    if value.ndim != 2 or value.shape[1] % sum(taps):
        return value  # not of this model; the check of shapes will say so
    if patches:
        return value.unflatten(1, (sum(taps), -1)).mT[:, :, None].contiguous()
    chans = value.shape[1] // sum(taps)
    parts = value.split([chans * count for count in taps], dim=1)
    return torch.cat([part.unflatten(1, (chans, -1)) for part in parts], 2)[:, :, None]


def _natural(name: str, value: torch.Tensor, raft: int) -> torch.Tensor:
    """A weight of a published token mixer in our order.

    There the raft is outside of the positions in the vectors that are mixed, and inside of the channels in the norm.
    """

    def swap(x: torch.Tensor, outer: int) -> torch.Tensor:
        if x.shape[0] % raft:
            return x  # not of this model; the check of shapes will say so
        return x.unflatten(0, (outer, -1)).transpose(0, 1).flatten(0, 1)

    if name.startswith('norm'):
        return swap(value, value.shape[0] // raft)
    if name == 'fc1.weight':
        return swap(value.mT, raft).mT.contiguous()
    return swap(value, raft) if name.startswith('fc2') else value


def _fit_grid(state: dict[str, torch.Tensor], path: str, module: TokenMixer) -> None:
    """Resample the weights of a token mixer, whose grid was square, if its grid in the model is another one."""
    names = [f'{path}.{name}' for name in ('fc1.weight', 'fc2.weight', 'fc2.bias')]
    if not state.keys() >= set(names):
        return
    first, second, bias = (state[name] for name in names)
    count = len(bias) // module.raft
    old = next((m for s in (count, math.isqrt(count)) if math.prod(m := module.mixed((s, s))) == count), None)
    new = module.mixed(module.grid)
    if old and old != new and first.mT.shape == second.shape == (len(bias), module.fc1.out_features):
        state.update(zip(names, resample(first, second, bias, old, new), strict=True))


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        'num_classes': 1000,
        'input_size': (3, 224, 224),
        'pool_size': (7, 7),
        'crop_pct': 0.875,
        'interpolation': 'bilinear',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.1',
        'classifier': 'head',
        'license': 'apache-2.0',
        'origin_url': 'https://github.com/okojoalg/raft-mlp',
        'paper_name': 'RaftMLP: How Much Can Be Done Without Attention and with Less Spatial Locality?',
        'paper_ids': 'arXiv:2108.04384',
        **kwargs,
    }


_CIFAR: dict[str, Any] = {
    'num_classes': 10,
    'input_size': (3, 32, 32),
    'pool_size': (8, 8),
    'crop_pct': 1.0,
    'mean': (0.4914, 0.4822, 0.4465),
    'std': (0.2023, 0.1994, 0.2010),
}

# no weights are published
default_cfgs = generate_default_cfgs(
    {
        'raft_mlp_s.untrained': _cfg(),
        'raft_mlp_m.untrained': _cfg(),
        'raft_mlp_l.untrained': _cfg(),
        'raft_mlp_hierarchy_m.untrained': _cfg(),
        'raft_mlp_12.untrained': _cfg(pool_size=(14, 14)),
        'raft_mlp_36.untrained': _cfg(pool_size=(14, 14)),
        'raft_mlp_r1.untrained': _cfg(pool_size=(14, 14)),
        'raft_mlp_r2.untrained': _cfg(pool_size=(14, 14)),
        'raft_mlp_r2_cross.untrained': _cfg(pool_size=(14, 14)),
        'raft_org_mixer.untrained': _cfg(pool_size=(14, 14)),
        'raft_mlp_cifar10.untrained': _cfg(**_CIFAR),
    }
)


def _raft_mlp(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(RaftMLP, variant, pretrained, checkpoint_filter_fn, **kwargs)


@register_model
def raft_mlp_s(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """RaftMLP-S, 9.9 M parameters, 2.0 G MACs at 224 x 224."""
    args = {'dims': (64, 128, 256, 512), 'depths': (2, 2, 6, 2), 'kernels': ((4, 8), (2, 4), (2, 4), (2,))}
    return _raft_mlp('raft_mlp_s', pretrained, **{**args, **kwargs})


@register_model
def raft_mlp_m(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """RaftMLP-M, 21.4 M parameters, 4.2 G MACs at 224 x 224."""
    args = {'dims': (96, 192, 384, 768), 'depths': (2, 2, 6, 2), 'kernels': ((4, 8), (2, 4), (2, 4), (2,))}
    return _raft_mlp('raft_mlp_m', pretrained, **{**args, **kwargs})


@register_model
def raft_mlp_l(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """RaftMLP-L, 36.2 M parameters, 6.4 G MACs at 224 x 224."""
    args = {'dims': (128, 192, 512, 1024), 'depths': (2, 2, 6, 2), 'kernels': ((4, 8), (2, 4), (2, 4), (2,))}
    return _raft_mlp('raft_mlp_l', pretrained, **{**args, **kwargs})


@register_model
def raft_mlp_hierarchy_m(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """RaftMLP-M with patches of one size, 19.9 M parameters, 3.8 G MACs at 224 x 224."""
    args = {'dims': (96, 192, 384, 768), 'depths': (2, 2, 6, 2), 'kernels': ((4,), (2,), (2,), (2,))}
    return _raft_mlp('raft_mlp_hierarchy_m', pretrained, **{**args, **kwargs})


@register_model
def raft_mlp_12(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """RaftMLP-12, of one level, 58.4 M parameters, 12.1 G MACs at 224 x 224."""
    args = {'dims': (768,), 'depths': (12,), 'kernels': ((16,),), 'raft_size': 4}
    return _raft_mlp('raft_mlp_12', pretrained, **{**args, **kwargs})


@register_model
def raft_mlp_36(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """RaftMLP-36, of one level, 43.5 M parameters, 9.0 G MACs at 224 x 224."""
    args = {'dims': (384,), 'depths': (36,), 'kernels': ((16,),), 'raft_size': 2}
    return _raft_mlp('raft_mlp_36', pretrained, **{**args, **kwargs})


@register_model
def raft_mlp_r1(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """RaftMLP-12 without rafts, 58.1 M parameters, 11.4 G MACs at 224 x 224."""
    args = {'dims': (768,), 'depths': (12,), 'kernels': ((16,),), 'raft_size': 1}
    return _raft_mlp('raft_mlp_r1', pretrained, **{**args, **kwargs})


@register_model
def raft_mlp_r2(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """RaftMLP-12 with rafts of two, 58.2 M parameters, 11.6 G MACs at 224 x 224."""
    args = {'dims': (768,), 'depths': (12,), 'kernels': ((16,),), 'raft_size': 2}
    return _raft_mlp('raft_mlp_r2', pretrained, **{**args, **kwargs})


@register_model
def raft_mlp_r2_cross(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """RaftMLP-12 with rafts of two and patches of two sizes, 60.5 M parameters, 12.0 G MACs at 224 x 224."""
    args = {'dims': (768,), 'depths': (12,), 'kernels': ((16, 32),), 'raft_size': 2}
    return _raft_mlp('raft_mlp_r2_cross', pretrained, **{**args, **kwargs})


@register_model
def raft_org_mixer(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The paper's baseline, an MLP-Mixer, 59.9 M parameters, 12.7 G MACs at 224 x 224."""
    args = {'dims': (768,), 'depths': (12,), 'kernels': ((16,),), 'raft_size': None}
    return _raft_mlp('raft_org_mixer', pretrained, **{**args, **kwargs})


@register_model
def raft_mlp_cifar10(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """RaftMLP of two levels for images of 32 x 32, 6.0 M parameters, 14.6 G MACs at 32 x 32."""
    args = {'dims': (128, 256), 'depths': (2, 2), 'kernels': ((2, 4, 8), (2, 4)), 'raft_size': 4, 'num_classes': 10}
    return _raft_mlp('raft_mlp_cifar10', pretrained, **{**args, **kwargs})
