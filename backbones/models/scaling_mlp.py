"""Scaling-MLP: a multi-layer perceptron on all pixels of a small image at once. There are no positions after its first
layer, so it classifies and offers no feature maps.

Paper: Scaling MLPs: A Tale of Inductive Bias, arXiv 2306.13575 (NeurIPS 2023).
Code: gregorbachmann/scaling_mlps@50cb3a9; no licence stated.
Differs: The code takes 64 x 64 pixels alone. Here `set_input_size` makes the first layer anew for another size, as if
    images were resized to 64 x 64 before it. The code's batch norm, its form without norms and its StandardMLP have no
    published weights and are left out.

Shapes: B batch, H and W height and width of the image, C width of the network.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath, calculate_drop_path_rates
from timm.models import generate_default_cfgs, register_model
from torch import nn

from ..base import StagedBackbone
from ..build import create
from ..keys import check_fit, is_ours, rename, unwrap
from ..layers import NormMlp, linear

__all__ = ['ScalingMlp']

PUBLISHED_SIZE = (64, 64)  # height and width in pixels


class PixelEmbed(nn.Conv2d):
    """One linear map of all pixels.

    y = W x + b

    A convolution whose kernel is the whole image, so that its weight is a picture for each channel.

    Shape:
        (B, in_chans, H, W) -> (B, dim)

    Source: gregorbachmann/scaling_mlps@50cb3a9:models/networks.py:BottleneckMLP
    """

    def __init__(self, in_chans: int, dim: int, grid: tuple[int, int], device=None, dtype=None) -> None:
        super().__init__(in_chans, dim, grid, device=device, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.bias is not None
        return linear(x.flatten(1), self.weight.flatten(1), self.bias)

    @torch.no_grad()
    def set_grid(self, grid: tuple[int, int]) -> None:
        """Make the weight anew for images of another (height, width) in pixels."""
        if grid != tuple(self.kernel_size):
            self.weight = nn.Parameter(_resample(self.weight, grid), self.weight.requires_grad)
            self.kernel_size = grid


def _resample(weight: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """W' = R_h^T W R_w, so that W' x = W (R_h x R_w^T): (C, in_chans, h, w) -> (C, in_chans, *grid).

    R resizes an image bilinearly and without aliasing, as images are made smaller before a network.
    """
    tall, wide = (_resize_matrix(to, new).to(weight) for to, new in zip(weight.shape[2:], grid, strict=True))
    return tall.mT @ weight @ wide


def _resize_matrix(to: int, source: int) -> torch.Tensor:
    """Matrix (to, source) that resizes `source` pixels in a row, half a pixel from the border to its first centre."""
    identity = torch.eye(source, dtype=torch.float64)[None, None]
    return F.interpolate(identity, (to, source), mode='bilinear', antialias=True)[0, 0]


class Block(nn.Module):
    """Inverted bottleneck.

    y = x + W_2 GELU(W_1 LN(x) + b_1) + b_2

    Shape:
        (B, C) -> (B, C)

    Source: paper, section 3; gregorbachmann/scaling_mlps@50cb3a9:models/networks.py:BottleneckBlock
    """

    def __init__(self, dim: int, hidden: int, drop_path: float = 0.0, **dd: Any) -> None:
        super().__init__()
        self.mlp = NormMlp(dim, hidden, **dd)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.drop_path(self.mlp(x))


class ScalingMlp(StagedBackbone):
    """Scaling-MLP.

    Args:
        dim: Width C.
        depth: Blocks.
        mlp_ratio: Width between the layers of a block in units of C.
        img_size: Side or (height, width) in pixels of the only images that it takes.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`; pooling one vector does nothing.
        drop_path_rate: Rate of stochastic depth at the last block, growing linearly from 0 (0 as published).

    Source: gregorbachmann/scaling_mlps@50cb3a9:models/networks.py:BottleneckMLP
    """

    def __init__(
        self,
        dim: int = 512,
        depth: int = 6,
        mlp_ratio: int = 4,
        img_size: int | Sequence[int] = PUBLISHED_SIZE,
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
            layout='NC',
            any_size=False,
        )
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.stem = PixelEmbed(in_chans, dim, self.img_size, **dd)
        rates: Any = calculate_drop_path_rates(drop_path_rate, depth)
        self.stages = nn.Sequential(*[Block(dim, mlp_ratio * dim, rate, **dd) for rate in rates])
        # no level has a grid: the reduction is that of the one vector to the published image
        self.feature_info = [
            {'num_chs': dim, 'reduction': max(PUBLISHED_SIZE), 'module': f'stages.{i}'} for i in range(depth)
        ]
        self._finish(**dd)

    def set_input_size(self, img_size: int | Sequence[int]) -> None:
        """Make the first layer anew for another image size, the only one that is taken from then on.

        The model then computes what it did on images resized bilinearly, without aliasing, to its former size.

        Args:
            img_size: Side or (height, width) in pixels.
        """
        super().set_input_size(img_size)
        self.stem.set_grid(self.img_size)


KEYS: dict[str, str | None] = {
    'linear_in.{p}': 'stem.{p}',
    'layernorms.{n}.{p}': 'stages.{n}.mlp.norm.{p}',
    'blocks.{n}.block.0.{p}': 'stages.{n}.mlp.fc1.{p}',
    'blocks.{n}.block.2.{p}': 'stages.{n}.mlp.fc2.{p}',
    'linear_out.{p}': 'head.{p}',
}


def checkpoint_filter_fn(checkpoint: Mapping, model: ScalingMlp) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and image may have other shapes.

    Weights for another image size than the model's are resampled as `set_input_size` does.
    """
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        state = rename(state, KEYS)
        first = state.get('stem.weight')
        if first is not None and first.ndim == 2 and first.shape[1] % (PUBLISHED_SIZE[0] * PUBLISHED_SIZE[1]) == 0:
            state['stem.weight'] = first.unflatten(1, (-1, *PUBLISHED_SIZE))
    first = state.get('stem.weight')
    if first is not None and first.ndim == 4 and tuple(first.shape[2:]) != model.img_size:
        state['stem.weight'] = _resample(first, model.img_size)
    return check_fit(model, state, adapt=('head', 'stem'))


def _cfg(**kwargs: Any) -> dict[str, Any]:
    """Facts of a variant; its files lie on Google Drive, where the repository's utils/download.py finds them."""
    return {
        'num_classes': 1000,
        'input_size': (3, *PUBLISHED_SIZE),
        'fixed_input_size': True,
        'pool_size': (1, 1),
        'crop_pct': 1.0,
        'interpolation': 'bilinear',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem',
        'classifier': 'head',
        'license': 'unknown',
        'origin_url': 'https://github.com/gregorbachmann/scaling_mlps',
        'paper_name': 'Scaling MLPs: A Tale of Inductive Bias',
        'paper_ids': 'arXiv:2306.13575',
        **kwargs,
    }


default_cfgs = generate_default_cfgs(
    {
        f'{name}.{tag}': _cfg(**facts)
        for name in (
            'scaling_mlp_b_6_wi_512',
            'scaling_mlp_b_12_wi_512',
            'scaling_mlp_b_6_wi_1024',
            'scaling_mlp_b_12_wi_1024',
        )
        for tag, facts in (('in21k_ft_in1k', {}), ('in21k', {'num_classes': 11230}))
    }
)


def _scaling_mlp(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(ScalingMlp, variant, pretrained, checkpoint_filter_fn, **kwargs)


@register_model
def scaling_mlp_b_6_wi_512(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Scaling-MLP of 6 blocks, 512 wide, 19.4 M parameters, 0.02 G MACs at 64 x 64."""
    return _scaling_mlp('scaling_mlp_b_6_wi_512', pretrained, **{'dim': 512, 'depth': 6, **kwargs})


@register_model
def scaling_mlp_b_12_wi_512(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Scaling-MLP of 12 blocks, 512 wide, 32.0 M parameters, 0.03 G MACs at 64 x 64."""
    return _scaling_mlp('scaling_mlp_b_12_wi_512', pretrained, **{'dim': 512, 'depth': 12, **kwargs})


@register_model
def scaling_mlp_b_6_wi_1024(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Scaling-MLP of 6 blocks, 1024 wide, 64.0 M parameters, 0.06 G MACs at 64 x 64."""
    return _scaling_mlp('scaling_mlp_b_6_wi_1024', pretrained, **{'dim': 1024, 'depth': 6, **kwargs})


@register_model
def scaling_mlp_b_12_wi_1024(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Scaling-MLP of 12 blocks, 1024 wide, 114.4 M parameters, 0.11 G MACs at 64 x 64."""
    return _scaling_mlp('scaling_mlp_b_12_wi_1024', pretrained, **{'dim': 1024, 'depth': 12, **kwargs})
