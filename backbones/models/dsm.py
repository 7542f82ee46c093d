"""DSM, Dynamic Spectrum Mixer: tokens are mixed by weighting the bands of their cosine transform, with weights that
each channel of each image makes from its own spectrum.

Paper: Dynamic Spectrum Mixer for Visual Recognition, arXiv 2309.06721.
Code: none is public, and of the paper the abstract alone could be read: a mixer by the discrete cosine transform, a
    dynamic layer that selects bands, 83.8 % top-1 on ImageNet and 49.9 % mIoU on ADE20K for its best models. The weight
    layer here follows a later paper of its authors, Dynamic SpectraFormer, arXiv 2608.18662. Widths, depths, patch
    embedding, norms and variants are this project's: no weights exist, and no accuracy is claimed for these models.
Differs: A softmax over K bands would make the map K times smaller: its weights are multiplied by K, so that their mean
    is 1. Bands do not overlap, so that pooling and its way back agree. They stay K on maps of fewer frequencies, where
    neighbouring bands hold the same frequency, which takes their mean.

Shapes: B batch, H and W height and width of the map, C channels, K bands.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath, calculate_drop_path_rates, trunc_normal_
from timm.models import generate_default_cfgs, register_model
from torch import nn

from ..base import Stage, StagedBackbone
from ..build import create
from ..keys import check_fit, is_ours, unwrap
from ..layers import (
    Backend,
    NormMlp,
    band_shares,
    check_backend,
    cosine,
    full_precision,
    inverse_cosine,
)

__all__ = ['Dsm']

EPS = 1e-6  # of every layer normalisation


class ConvEmbed(nn.Module):
    """Overlapping patches: a strided convolution between maps with channels last.

    Args:
        in_chs: Channels of the input.
        dim: Channels of the output.
        kernel_size: Side of the kernel in positions, odd.
        stride: Step in positions.
        channels_first: Whether the input is an image (B, in_chs, H, W).

    Shape:
        (B, H, W, in_chs) -> (B, ceil(H / stride), ceil(W / stride), dim)
    """

    def __init__(
        self, in_chs: int, dim: int, kernel_size: int, stride: int, channels_first: bool = False, **dd: Any
    ) -> None:
        super().__init__()
        self.channels_first = channels_first
        self.proj = nn.Conv2d(in_chs, dim, kernel_size, stride, kernel_size // 2, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x if self.channels_first else x.permute(0, 3, 1, 2)
        return self.proj(x.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1)


class SpectrumMixer(nn.Module):
    """Token mixer: the cosine spectrum, weighted band by band as the spectrum itself says.

    F = DCT(x);  M = K up(softmax(MLP(LN(pool(F)))));  y = DCT^-1(M F)

    Args:
        bands: Number K of bands.
        hidden: Hidden width of the perceptron between bands, which channels share.
        backend: How the transforms run: 'auto', 'fft' or 'matmul'.

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source: arXiv 2309.06721, abstract; arXiv 2608.18662 for the weights.
    """

    def __init__(self, bands: int, hidden: int, backend: Backend = 'auto', **dd: Any) -> None:
        super().__init__()
        self.bands = bands
        self.backend: Backend = backend
        self.generator = NormMlp(bands, hidden, EPS, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spectrum = cosine(x, self.backend)
        flat = spectrum.flatten(2)  # B C HW
        height, width = x.shape[2:]
        shares = band_shares(height, width, self.bands, like=spectrum)  # HW K
        with full_precision(x):
            pooled = flat @ shares / shares.sum(0)  # B C K
        logits = self.generator(pooled.to(self.generator.fc1.weight.dtype))
        with full_precision(x):
            weights = self.bands * logits.to(flat.dtype).softmax(-1) @ shares.t()  # B C HW
        return inverse_cosine((flat * weights).reshape(spectrum.shape), self.backend).to(x.dtype)


class Block(nn.Module):
    """Token mixer, then channel mixer.

    x = x + drop_path(W mix(LN(x)) + b);  y = x + drop_path(MLP(x))

    Shape:
        (B, H, W, C) -> (B, H, W, C)
    """

    def __init__(
        self,
        dim: int,
        mlp_ratio: float,
        bands: int,
        hidden: int,
        backend: Backend = 'auto',
        drop_path: float = 0.0,
        **dd: Any,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, EPS, **dd)
        self.mixer = SpectrumMixer(bands, hidden, backend, **dd)
        self.proj = nn.Linear(dim, dim, **dd)
        self.mlp = NormMlp(dim, int(dim * mlp_ratio), EPS, **dd)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.mixer(self.norm(x).permute(0, 3, 1, 2).contiguous()).permute(0, 2, 3, 1)
        x = x + self.drop_path(self.proj(y))
        return x + self.drop_path(self.mlp(x))


class Dsm(StagedBackbone):
    """DSM at strides 4, 8, 16 and 32.

    Args:
        dims: Channels of the stages.
        depths: Blocks of the stages.
        mlp_ratios: Hidden width of the channel mixers of each stage, as a multiple of its channels.
        bands: Number K of bands that a spectrum is weighted in.
        hidden: Hidden width of the layer that makes their weights.
        backend: How transforms run: 'fft', 'matmul' (matrices), or 'auto' by the size of the map.
        img_size: Side or (height, width) in pixels; no weight depends on it, any other size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth at the last block, growing linearly from 0.

    Raises:
        ValueError: Numbers of stages differ, a count is less than 1, or the backend is unknown.

    Source: arXiv 2309.06721, reconstructed; see the text of the module.
    """

    def __init__(
        self,
        dims: Sequence[int] = (64, 128, 320, 512),
        depths: Sequence[int] = (2, 2, 4, 2),
        mlp_ratios: Sequence[float] = (4, 4, 4, 4),
        bands: int = 64,
        hidden: int = 128,
        backend: Backend = 'auto',
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
        check_backend(backend)
        if not dims or not len(dims) == len(depths) == len(mlp_ratios) or min(*dims, *depths, bands, hidden) < 1:
            raise ValueError(
                'DSM needs a width, a depth and an MLP ratio for each stage, and all of them, bands and hidden at '
                f'least 1, but got dims={tuple(dims)}, depths={tuple(depths)}, mlp_ratios={tuple(mlp_ratios)}, '
                f'bands={bands} and hidden={hidden}.'
            )
        self.stem = ConvEmbed(in_chans, dims[0], 7, 4, channels_first=True, **dd)
        rates: Any = iter(calculate_drop_path_rates(drop_path_rate, sum(depths)))
        stages: list[Stage] = []
        for i, (dim, depth, ratio) in enumerate(zip(dims, depths, mlp_ratios, strict=True)):
            blocks = [Block(dim, ratio, bands, hidden, backend, next(rates), **dd) for _ in range(depth)]
            stages.append(Stage(ConvEmbed(dims[i - 1], dim, 3, 2, **dd) if i else nn.Identity(), blocks))
            self.feature_info.append({'num_chs': dim, 'reduction': 4 * 2**i, 'module': f'stages.{i}'})
        self.stages = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(dims[-1], EPS, **dd)
        self._finish(**dd)

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Linear layers: normal, cut at two, with standard deviation 0.02, and zero biases."""
        if isinstance(module, nn.Linear):
            trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)


def checkpoint_filter_fn(checkpoint: Mapping, model: Dsm) -> dict[str, torch.Tensor]:
    """A checkpoint of this project for `model`, whose classifier and first convolution may have other shapes.

    Raises:
        ValueError: It has other keys: none but our own are known, since nothing was published.
    """
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        raise ValueError(
            'A checkpoint for DSM must have been trained with this project, since no weights are published, but most '
            f'of its keys are unknown, {next(iter(state))} for one. Is it a checkpoint of another model?'
        )
    return check_fit(model, state, adapt=('head', 'stem.proj'))


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        'num_classes': 1000,
        'input_size': (3, 224, 224),
        'pool_size': (7, 7),
        'crop_pct': 0.875,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.proj',
        'classifier': 'head',
        'license': 'apache-2.0',
        'origin_url': 'https://arxiv.org/abs/2309.06721',
        'paper_name': 'Dynamic Spectrum Mixer for Visual Recognition',
        'paper_ids': 'arXiv:2309.06721',
        **kwargs,
    }


default_cfgs = generate_default_cfgs(
    {f'dsm_{size}.untrained': _cfg() for size in ('tiny', 'small', 'medium', 'base')},
)


def _dsm(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(Dsm, variant, pretrained, checkpoint_filter_fn, **kwargs)


@register_model
def dsm_tiny(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """DSM tiny as reconstructed, 11.4 M parameters, 1.9 G MACs at 224 x 224."""
    return _dsm('dsm_tiny', pretrained, **{'depths': (2, 2, 4, 2), **kwargs})


@register_model
def dsm_small(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """DSM small as reconstructed, 19.8 M parameters, 3.6 G MACs at 224 x 224."""
    return _dsm('dsm_small', pretrained, **{'depths': (3, 4, 10, 3), **kwargs})


@register_model
def dsm_medium(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """DSM medium as reconstructed, 28.0 M parameters, 5.9 G MACs at 224 x 224."""
    return _dsm('dsm_medium', pretrained, **{'depths': (3, 4, 18, 3), 'mlp_ratios': (8, 8, 4, 4), **kwargs})


@register_model
def dsm_base(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """DSM base as reconstructed, 54.3 M parameters, 10.2 G MACs at 224 x 224."""
    return _dsm('dsm_base', pretrained, **{'dims': (96, 192, 384, 768), 'depths': (3, 4, 24, 3), **kwargs})
