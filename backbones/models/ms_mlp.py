"""MS-MLP: groups of channels are shifted by different distances along each axis of the map and mixed by depthwise
convolutions whose kernels grow from group to group, so that a block sees near and far positions.

Paper: Mixing and Shifting: Exploiting Global and Local Dependencies in Vision MLPs, arXiv 2202.06510.
Code: JegZheng/MS-MLP@a10d34d, MIT.
Differs: The paper mixes and then shifts; the code, and so the weights, shifts and then mixes. The code takes one image
    size alone and drops what is left of odd maps; here any size works, as maps are padded with zeros at the right and
    the bottom before they are downsampled, which happens at the start of a stage instead of the end of the one before.

Shapes: B batch, H and W height and width of the map, C channels, G groups of channels, K side of the largest kernel.
"""

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
from ..layers import LayerNormLinear, NormMlp, PatchEmbed, require_eval, shifted_depthwise

__all__ = ['MsMlp']

PATCH = 4  # pixels: side of a patch
EPS = 1e-6  # of every layer normalisation


class Downsample(PatchEmbed):
    """Patches of 2 x 2 positions of a map.

    Shape:
        (B, H, W, C) -> (B, ceil(H / 2), ceil(W / 2), 2 C)

    Source: JegZheng/MS-MLP@a10d34d:models/ms_mlp.py:PatchEmbed
    """

    def __init__(self, dim: int, **dd: Any) -> None:
        super().__init__(dim, 2 * dim, 2, EPS, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 3, 1, 2))


class MixShift(nn.Module):
    """Token mixer: shift each group of channels along the width and along the height, then convolve both.

    y_g = H_g * roll_W(x_g, d_g) + V_g * roll_H(x_g, d_g),  depthwise, with biases and zeros around the map

    Args:
        dim: Channels C, cut into groups as `torch.chunk` cuts them.
        distances: Positions d_g that each group moves by; what leaves at one end comes in at the other.
        kernel_sizes: Sides of the kernels of each group, odd.

    Shape:
        (B, H, W, C) -> (B, H, W, C)

    Source: JegZheng/MS-MLP@a10d34d:models/ms_mlp.py:MixShiftBlock
    """

    def __init__(self, dim: int, distances: Sequence[int], kernel_sizes: Sequence[int], **dd: Any) -> None:
        super().__init__()
        self.distances = tuple(distances)
        width = -(-dim // len(distances))
        widths = [min(width, dim - start) for start in range(0, dim, width)]

        def convolutions() -> nn.ModuleList:
            pairs = zip(widths, kernel_sizes, strict=True)
            return nn.ModuleList(nn.Conv2d(c, c, k, padding=k // 2, groups=c, **dd) for c, k in pairs)

        self.horizontal, self.vertical = convolutions(), convolutions()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return shifted_depthwise(x, *self.kernels(), self.distances)

    def kernels(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Kernels (C, 1, K, K) of both directions, padded with zeros to the largest, and the sum (C) of the biases.

        One convolution of all channels with zeros in its kernels is faster than one for each group.
        """
        directions: list[list[Any]] = [list(self.horizontal), list(self.vertical)]
        largest = max(conv.kernel_size[0] for conv in directions[0])
        horizontal, vertical = (
            torch.cat([F.pad(conv.weight, (largest // 2 - conv.padding[0],) * 4) for conv in convs])
            for convs in directions
        )
        across, down = (torch.cat([conv.bias for conv in convs]) for convs in directions)
        return horizontal, vertical, across + down

    def fuse(self) -> 'FusedMixShift':
        """The same with its kernels put together once."""
        return FusedMixShift(self)


class FusedMixShift(nn.Module):
    """Deployed form of `MixShift`: one kernel for all groups in each direction, and one bias."""

    def __init__(self, mixer: MixShift) -> None:
        super().__init__()
        require_eval(mixer)
        self.distances = mixer.distances
        with torch.no_grad():
            self.horizontal, self.vertical, self.bias = (nn.Parameter(value) for value in mixer.kernels())
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return shifted_depthwise(x, self.horizontal, self.vertical, self.bias, self.distances)


class Block(nn.Module):
    """Token mixer and channel mixer in one residual branch.

    y = x + drop_path(gamma MLP(MixShift(x)))

    Shape:
        (B, H, W, C) -> (B, H, W, C)

    Source: JegZheng/MS-MLP@a10d34d:models/ms_mlp.py:MixShiftBlock
    """

    def __init__(
        self, dim: int, mixer: MixShift, mlp_ratio: float, init_values: float, drop_path: float = 0.0, **dd: Any
    ) -> None:
        super().__init__()
        self.mixer = mixer
        self.mlp = NormMlp(dim, int(dim * mlp_ratio), EPS, **dd)
        self.scale = LayerScale(dim, init_values, **dd)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.scale(self.mlp(self.mixer(x))).to(x.dtype)  # under autocast the scale would spread float32
        return x + self.drop_path(y)

    def fuse(self) -> 'FusedBlock':
        """The same with the scale inside the last linear layer, and mixer and MLP fused."""
        return FusedBlock(self)


class FusedBlock(nn.Module):
    """Deployed form of `Block`: y = x + MLP(MixShift(x))."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        require_eval(block)
        self.mixer, self.mlp = block.mixer.fuse(), block.mlp.fuse()
        last, gamma = self.mlp.fc2, block.scale.gamma.double()
        with torch.no_grad():
            last.weight.copy_(last.weight.double() * gamma[:, None])
            last.bias.copy_(last.bias.double() * gamma)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mlp(self.mixer(x))


class MsMlp(StagedBackbone):
    """MS-MLP at strides 4, 8, 16 and 32.

    Args:
        embed_dim: Channels of the first stage; each further stage has twice as many.
        depths: Blocks of the stages.
        distances: Positions that each group of channels is shifted by.
        kernel_sizes: Sides of the kernels of each group, for each stage.
        mlp_ratio: Hidden width of the channel mixers, as a multiple of their channels.
        init_values: First value of the scale behind each channel mixer.
        img_size: Side or (height, width) in pixels; no weight depends on it, any other size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth at the last block, growing linearly from 0 (published: 0.1 for tiny,
            0.4 for small, 0.5 for base).

    Raises:
        ValueError: Numbers of stages or groups differ, a count is less than 1, or a kernel is even.

    Source: JegZheng/MS-MLP@a10d34d:models/ms_mlp.py:MS_MLP
    """

    published = 'model'

    def __init__(
        self,
        embed_dim: int = 96,
        depths: Sequence[int] = (3, 3, 9, 3),
        distances: Sequence[int] = (-2, -1, 0, 1, 2),
        kernel_sizes: Sequence[Sequence[int]] = ((1, 1, 3, 5, 7), (1, 3, 3, 5, 7), (1, 5, 5, 5, 7), (1, 7, 7, 7, 7)),
        mlp_ratio: float = 4.0,
        init_values: float = 1e-6,
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
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        _check(embed_dim, depths, distances, kernel_sizes)
        self.stem = PatchEmbed(in_chans, embed_dim, PATCH, EPS, **dd)
        rates: Any = iter(calculate_drop_path_rates(drop_path_rate, sum(depths)))
        stages: list[Stage] = []
        for i, (depth, sizes) in enumerate(zip(depths, kernel_sizes, strict=True)):
            dim = embed_dim * 2**i
            blocks = []
            for _ in range(depth):
                mixer = MixShift(dim, distances, sizes, **dd)
                blocks.append(Block(dim, mixer, mlp_ratio, init_values, next(rates), **dd))
            stages.append(Stage(Downsample(dim // 2, **dd) if i else nn.Identity(), blocks))
            self.feature_info.append({'num_chs': dim, 'reduction': PATCH * 2**i, 'module': f'stages.{i}'})
        self.stages = nn.Sequential(*stages)
        self._finish(**dd)

    def make_head(self, in_features: int, num_classes: int, device=None, dtype=None) -> nn.Module:
        """Layer norm of the pooled features and a linear map."""
        return LayerNormLinear(in_features, num_classes, EPS, device=device, dtype=dtype)

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Linear layers: normal, cut at two, with standard deviation 0.02, and zero biases."""
        if isinstance(module, nn.Linear):
            trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)


def _check(
    embed_dim: int, depths: Sequence[int], distances: Sequence[int], kernel_sizes: Sequence[Sequence[int]]
) -> None:
    groups = len(distances)
    if not depths or len(depths) != len(kernel_sizes) or min(*depths, groups, embed_dim) < 1:
        raise ValueError(
            'MS-MLP needs a depth and kernel sizes for each stage, a distance, and all of them and embed_dim at least '
            f'1, but got embed_dim={embed_dim}, depths={tuple(depths)}, distances={tuple(distances)} and kernel sizes '
            f'for {len(kernel_sizes)} stages.'
        )
    for sizes in kernel_sizes:
        if len(sizes) != groups or any(size < 1 or size % 2 == 0 for size in sizes):
            raise ValueError(
                f'Each stage needs one odd kernel size for each of the {groups} distances, but got {tuple(sizes)}.'
            )
    for dim in (embed_dim * 2**i for i in range(len(depths))):
        if -(-dim // -(-dim // groups)) != groups:
            raise ValueError(
                f'{dim} channels cannot be cut into {groups} groups that are equally wide but for a narrower last one: '
                'give another embed_dim, or fewer distances.'
            )


_BLOCK = 'layers.{s}.blocks.{b}', 'stages.{s}.blocks.{b}'

KEYS: dict[str, str | None] = {
    'patch_embed.{n}.{p}': 'stem.{n}.{p}',
    f'{_BLOCK[0]}.dwconv_lr.{{g}}.{{p}}': f'{_BLOCK[1]}.mixer.horizontal.{{g}}.{{p}}',
    f'{_BLOCK[0]}.dwconv_td.{{g}}.{{p}}': f'{_BLOCK[1]}.mixer.vertical.{{g}}.{{p}}',
    f'{_BLOCK[0]}.norm.{{p}}': f'{_BLOCK[1]}.mlp.norm.{{p}}',
    f'{_BLOCK[0]}.pwconv1.{{p}}': f'{_BLOCK[1]}.mlp.fc1.{{p}}',
    f'{_BLOCK[0]}.pwconv2.{{p}}': f'{_BLOCK[1]}.mlp.fc2.{{p}}',
    f'{_BLOCK[0]}.gamma': f'{_BLOCK[1]}.scale.gamma',
    # maps are downsampled at the end of a published stage and at the start of ours
    'layers.{s}.downsample.{n}.{p}': 'stages.{s+1}.downsample.{n}.{p}',
    'norm.{p}': 'head.norm.{p}',
    'head.{p}': 'head.linear.{p}',
}


def checkpoint_filter_fn(checkpoint: Mapping, model: MsMlp) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes.

    The published accuracy is that of the weights and not of their average, where a file holds both.
    """
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        state = rename(state, KEYS)
    return check_fit(model, state, adapt=('head.linear', 'stem.proj'))


def _cfg(name: str, **kwargs: Any) -> dict[str, Any]:
    folder = 'https://tsciencescu.blob.core.windows.net/projectshzheng/MSMLP/released_model'
    return {
        'url': f'{folder}/{name}/{name}_ckpt_epoch299.pth',
        'num_classes': 1000,
        'input_size': (3, 224, 224),
        'pool_size': (7, 7),
        'crop_pct': 0.875,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.proj',
        'classifier': 'head.linear',
        'license': 'mit',
        'origin_url': 'https://github.com/JegZheng/MS-MLP',
        'paper_name': 'Mixing and Shifting: Exploiting Global and Local Dependencies in Vision MLPs',
        'paper_ids': 'arXiv:2202.06510',
        **kwargs,
    }


default_cfgs = generate_default_cfgs(
    {
        'ms_mlp_tiny.tsc_in1k': _cfg('msmlp_tiny_patch4'),
        'ms_mlp_small.tsc_in1k': _cfg('msmlp_small_patch4'),
        'ms_mlp_base.tsc_in1k': _cfg('msmlp_base_patch4'),
    }
)


def _ms_mlp(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(MsMlp, variant, pretrained, checkpoint_filter_fn, **kwargs)


@register_model
def ms_mlp_tiny(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MS-MLP tiny, 28.7 M parameters, 4.6 G MACs at 224 x 224."""
    return _ms_mlp('ms_mlp_tiny', pretrained, **{'embed_dim': 96, 'depths': (3, 3, 9, 3), **kwargs})


@register_model
def ms_mlp_small(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MS-MLP small, 50.3 M parameters, 8.9 G MACs at 224 x 224."""
    return _ms_mlp('ms_mlp_small', pretrained, **{'embed_dim': 96, 'depths': (3, 3, 27, 3), **kwargs})


@register_model
def ms_mlp_base(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MS-MLP base, 88.7 M parameters, 15.6 G MACs at 224 x 224."""
    return _ms_mlp('ms_mlp_base', pretrained, **{'embed_dim': 128, 'depths': (3, 3, 27, 3), **kwargs})
