"""SpikingResformer: three stages of spiking self-attention whose two products multiply spikes by real numbers, with
pointwise and grouped convolutions between; shortcuts carry membranes.

Paper: SpikingResformer: Bridging ResNet and Vision Transformer in Spiking Neural Networks, arXiv 2403.14302.
Code: xyshi2000/SpikingResformer@3f75127, MIT; the CIFAR form of Fancyssc/STEP@c0b3193, no licence.
Differs: The original averages the logits of the steps, STEP the maps; with a linear classifier both are the same, and
    here it is the maps. The original's classifier has no bias, STEP's has one. STEP counts 3136 positions in the second
    scale of every stage, as its factory leaves `img_size` at 224 for images of 32: `length` says so.
    An image is the same at every step, so that the stem runs once and its map is repeated; running variances then
    follow B images in place of T B, which differs by the unbiased factor alone. Maps that patches do not divide are
    padded with zeros, where the code stops. Rates of firing start at 0, and the code divides by them before the first
    training step and wherever nothing fires; here a rate of 0 counts as 1. Where a training recomputes blocks
    (`set_grad_checkpointing`), rates move once a step all the same, so that gradients are those of the first pass.

Shapes: B batch, T time steps, C channels, H and W height and width of the map, h heads, d = C / h, N = H W positions,
M patches.
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
from ..keys import check_fit, is_ours, rename, unwrap
from ..layers import LIF, PLIF, ConvNorm, DualSpikeAttention, MaxPool, Neuron, Repeat, covering

__all__ = ['SpikingResformer']


class GroupConvMlp(nn.Module):
    """Channel mixer with a grouped convolution between its pointwise ones, and its shortcut.

    u = BN(W_1 neuron(x));  y = x + drop_path(BN(W_3 neuron(u + BN(W_2 neuron(u)))))

    Args:
        dim: Channels C.
        hidden_dim: Channels of u.
        group_size: Channels of a group of W_2, a convolution of 3 x 3.
        neuron: Makes a neuron.
        drop_path: Rate of stochastic depth.

    Shape:
        (T * B, C, H, W) -> (T * B, C, H, W)

    Source: xyshi2000/SpikingResformer@3f75127:models/spikingresformer.py:GWFFN
    """

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        group_size: int,
        neuron: Callable[..., Neuron],
        drop_path: float = 0.0,
        **dd: Any,
    ) -> None:
        super().__init__()
        self.neuron1, self.up = neuron(), ConvNorm(dim, hidden_dim, **dd)
        self.neuron2, self.conv = neuron(), ConvNorm(hidden_dim, hidden_dim, 3, groups=hidden_dim // group_size, **dd)
        self.neuron3, self.down = neuron(), ConvNorm(hidden_dim, dim, **dd)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u = self.up(self.neuron1(x))
        u = u + self.conv(self.neuron2(u))
        return x + self.drop_path(self.down(self.neuron3(u)))


class Downsample(nn.Sequential):
    """Half the resolution: BN(W neuron(x)), a convolution of 3 x 3 with stride 2."""

    def __init__(self, in_chs: int, out_chs: int, neuron: Callable[..., Neuron], **dd: Any) -> None:
        super().__init__()
        self.neuron = neuron()
        self.conv_norm = ConvNorm(in_chs, out_chs, 3, stride=2, **dd)


class SpikingResformer(StagedBackbone):
    """SpikingResformer at strides 4, 8 and 16, or 1, 2 and 4 without a stem that reduces.

    Args:
        dims: Channels of the stages.
        depths: Pairs of attention and channel mixer in each stage.
        num_heads: Heads of the stages.
        patch_sizes: Sides of the patches of the stages, in positions.
        ratio: Hidden width of the channel mixers, as a multiple of their channels.
        group_size: Channels of a group in the channel mixers.
        small: Whether the stem is a convolution of 3 x 3 that keeps the size, for small images.
        length: Patches that the second scale of every attention counts; those of `img_size` if None.
        num_steps: Time steps T.
        clips: Whether an input is a clip (B, T, C, H, W) with a picture for each step.
        surrogate: Name of the neurons' surrogate gradient.
        alpha: Its sharpness.
        learn_tau: Whether each neuron learns its time constant.
        head_bias: Whether the classifier has a bias.
        img_size: Side or (height, width) in pixels; it sets `length`, and any other size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth at the last block, growing linearly from 0 (published: 0).

    Raises:
        ValueError: Numbers of stages differ, or a number cannot be.

    Source: xyshi2000/SpikingResformer@3f75127:models/spikingresformer.py:SpikingResformer
    """

    def __init__(
        self,
        dims: Sequence[int] = (64, 192, 384),
        depths: Sequence[int] = (1, 2, 3),
        num_heads: Sequence[int] = (1, 3, 6),
        patch_sizes: Sequence[int] = (4, 2, 1),
        ratio: int = 4,
        group_size: int = 64,
        small: bool = False,
        length: int | None = None,
        num_steps: int = 4,
        clips: bool = False,
        surrogate: str = 'atan',
        alpha: float = 2.0,
        learn_tau: bool = False,
        head_bias: bool = False,
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
            clips=clips,
        )
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        _check(dims, depths, num_heads, patch_sizes, ratio, group_size, length)
        self.head_bias = head_bias
        neuron: Any = partial(LIF, num_steps, surrogate=surrogate, alpha=alpha)
        if learn_tau:
            neuron = partial(PLIF, num_steps, surrogate=surrogate, alpha=alpha, **dd)
        first = ConvNorm(in_chans, dims[0], 3 if small else 7, stride=1 if small else 2, **dd)
        pool = nn.Identity() if small else MaxPool()
        self.stem = nn.Sequential(first, pool, nn.Identity() if clips else Repeat(num_steps))
        rates: Any = iter(calculate_drop_path_rates(drop_path_rate, sum(depths)))
        stages: list[Stage] = []
        for i, (dim, depth, heads, patch) in enumerate(zip(dims, depths, num_heads, patch_sizes, strict=True)):
            reduction = (1 if small else 4) * 2**i
            blocks: list[nn.Module] = []
            patches = _covering(self.img_size, reduction, patch) if length is None else length
            for _ in range(depth):
                rate = next(rates)
                blocks.append(DualSpikeAttention(dim, heads, patch, patches, neuron, rate, **dd))
                blocks.append(GroupConvMlp(dim, ratio * dim, group_size, neuron, rate, **dd))
            stages.append(Stage(Downsample(dims[i - 1], dim, neuron, **dd) if i else nn.Identity(), blocks))
            self.feature_info.append({'num_chs': dim, 'reduction': reduction, 'module': f'stages.{i}'})
        self.stages = nn.Sequential(*stages)
        self._finish(**dd)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """The pictures of a clip; an image as it is, since the stem repeats what it makes of it."""
        return super().encode(x) if self.clips else x

    def make_head(self, in_features: int, num_classes: int, device=None, dtype=None) -> nn.Module:
        """A linear map, without a bias in the original."""
        return nn.Linear(in_features, num_classes, self.head_bias, device=device, dtype=dtype)

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Linear layers and convolutions: normal, cut at two, with standard deviation 0.02, and zero biases."""
        if isinstance(module, nn.Linear | nn.Conv2d):
            trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _covering(size: tuple[int, int], reduction: int, patch: int) -> int:
    """Patches of a map, incomplete ones included."""
    rows, columns = (covering(covering(side, reduction), patch) for side in size)
    return rows * columns


def _check(
    dims: Sequence[int],
    depths: Sequence[int],
    num_heads: Sequence[int],
    patch_sizes: Sequence[int],
    ratio: int,
    group_size: int,
    length: int | None,
) -> None:
    if length is not None and length < 1:
        raise ValueError(f'length must be at least 1 patch, or None for those of img_size, but got {length}.')
    lengths = {len(values) for values in (dims, depths, num_heads, patch_sizes)}
    if len(lengths) != 1 or not dims or min(*dims, *depths, *patch_sizes, ratio, group_size) < 1:
        raise ValueError(
            'SpikingResformer needs channels, a depth, heads and a patch size for each stage, all of them, ratio and '
            f'group_size at least 1, but got dims={tuple(dims)}, depths={tuple(depths)}, num_heads={tuple(num_heads)}, '
            f'patch_sizes={tuple(patch_sizes)}, ratio={ratio}, group_size={group_size}.'
        )
    for dim in dims:
        if ratio * dim % group_size:
            raise ValueError(
                f'group_size must divide the {ratio * dim} hidden channels of each stage, but got {group_size}.'
            )


_PARTS = {  # published names of a block's convolutions and norms, the original's first, then STEP's; our name
    'W.{p}': 'patches.conv.{p}',
    'norm.bn.{p}': 'patches.norm.{p}',
    'bn.{p}': 'patches.norm.{p}',
    'Wproj.{p}': 'proj.conv.{p}',
    'norm_proj.bn.{p}': 'proj.norm.{p}',
    'proj_conv.{p}': 'proj.conv.{p}',
    'proj_norm.{p}': 'proj.norm.{p}',
    'firing_rate_x': 'rate_in',
    'firing_rate_attn': 'rate_attn',
    'up.1.{p}': 'up.conv.{p}',
    'up.2.bn.{p}': 'up.norm.{p}',
    'up_conv.{p}': 'up.conv.{p}',
    'up_bn.{p}': 'up.norm.{p}',
    'conv.0.1.{p}': 'conv.conv.{p}',
    'conv.0.2.bn.{p}': 'conv.norm.{p}',
    'conv_module.0.1.{p}': 'conv.conv.{p}',
    'conv_module.0.2.{p}': 'conv.norm.{p}',
    'down.1.{p}': 'down.conv.{p}',
    'down.2.bn.{p}': 'down.norm.{p}',
    'down_conv.{p}': 'down.conv.{p}',
    'down_bn.{p}': 'down.norm.{p}',
}
_TAUS = {  # time constants, where they are learned
    'activation_in.w': 'neuron.w',
    'activation_attn.w': 'attn_neuron.w',
    'activation_out.w': 'out_neuron.w',
    'up.0.w': 'neuron1.w',
    'conv.0.0.w': 'neuron2.w',
    'down.0.w': 'neuron3.w',
}


_DOWNSAMPLE = {
    'conv.{p}': 'conv_norm.conv.{p}',
    'norm.bn.{p}': 'conv_norm.norm.{p}',
    'norm.{p}': 'conv_norm.norm.{p}',
}


def _rows(parts: Mapping[str, str], downsample: Mapping[str, str]) -> dict[str, str | None]:
    """Rows of the stages; each published one but the first begins with its downsampling."""
    first = {f'layers.0.{{i}}.{theirs}': f'stages.0.blocks.{{i}}.{ours}' for theirs, ours in parts.items()}
    between = {f'layers.{{s}}.0.{theirs}': f'stages.{{s}}.downsample.{ours}' for theirs, ours in downsample.items()}
    later = {f'layers.{{s}}.{{i}}.{theirs}': f'stages.{{s}}.blocks.{{i-1}}.{ours}' for theirs, ours in parts.items()}
    return {**first, **between, **later}


KEYS: dict[str, str | None] = {
    '{neuron...}.threshold': None,  # constants of STEP's neurons
    '{neuron...}.act_fun.alpha': None,
    'prologue.0.{p}': 'stem.0.conv.{p}',
    'prologue.1.bn.{p}': 'stem.0.norm.{p}',
    'prologue.1.{p}': 'stem.0.norm.{p}',
    **_rows(_PARTS, _DOWNSAMPLE),
    'classifier.{p}': 'head.{p}',
}

TAU_KEYS = _rows(_TAUS, {'activation.w': 'neuron.w'})  # of `learn_tau`


def checkpoint_filter_fn(checkpoint: Mapping, model: SpikingResformer) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes."""
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        state = rename(state, {**TAU_KEYS, **KEYS})
        for name, value in state.items():
            if name.endswith(('rate_in', 'rate_attn')):
                state[name] = value.flatten()[:, None, None]  # 1 1 h 1 1 -> h 1 1
    return check_fit(model, state, adapt=('head', 'stem.0.conv'))


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        'num_classes': 1000,
        'input_size': (3, 224, 224),
        'pool_size': (14, 14),
        'crop_pct': 0.95,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.0.conv',
        'classifier': 'head',
        'license': 'mit',
        'origin_url': 'https://github.com/xyshi2000/SpikingResformer',
        'paper_name': 'SpikingResformer: Bridging ResNet and Vision Transformer in Spiking Neural Networks',
        'paper_ids': 'arXiv:2403.14302',
        **kwargs,
    }


def _cifar(classes: int, **kwargs: Any) -> dict[str, Any]:
    ten = classes == 10
    return _cfg(
        input_size=(3, 32, 32),
        pool_size=(8, 8),
        crop_pct=1.0,
        **{
            'num_classes': classes,
            'mean': (0.4914, 0.4822, 0.4465) if ten else (0.5071, 0.4867, 0.4408),
            'std': (0.2470, 0.2435, 0.2616) if ten else (0.2675, 0.2565, 0.2761),
            **kwargs,
        },
    )


_STEP = {'license': 'unknown', 'origin_url': 'https://github.com/Fancyssc/STEP'}
default_cfgs = generate_default_cfgs(
    {
        'spikingresformer_ti.in1k': _cfg(),
        'spikingresformer_s.in1k': _cfg(),
        'spikingresformer_m.in1k': _cfg(),
        'spikingresformer_l.in1k': _cfg(),
        'spikingresformer_ti_cifar.c10': _cifar(10, std=(0.2023, 0.1994, 0.2010)),
        'spikingresformer_ti_cifar100.c100': _cifar(100),
        'spikingresformer_cifar.step_c10': _cifar(10, **_STEP),
        'spikingresformer_cifar100.step_c100': _cifar(10, **{**_STEP, 'num_classes': 100}),  # with CIFAR-10's mean
        'spikingresformer_dvsg.dvs128': _cfg(
            num_classes=11,
            input_size=(3, 64, 64),
            pool_size=(16, 16),
            crop_pct=1.0,
            interpolation='bilinear',
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        ),
    }
)


def _spikingresformer(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(SpikingResformer, variant, pretrained, checkpoint_filter_fn, **kwargs)


def _small(variant: str, pretrained: bool, classes: int, **kwargs: Any) -> nn.Module:
    """The form for images of CIFAR."""
    return _spikingresformer(variant, pretrained, **{'small': True, 'img_size': 32, 'num_classes': classes, **kwargs})


def _step(variant: str, pretrained: bool, classes: int, **kwargs: Any) -> nn.Module:
    """STEP's form."""
    options = {'length': 3136, 'surrogate': 'sigmoid', 'alpha': 4.0, 'head_bias': True}
    return _small(variant, pretrained, classes, **{**options, **kwargs})


@register_model
def spikingresformer_ti(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SpikingResformer-Ti, 11.2 M parameters, 15.8 G MACs at 224 x 224."""
    options = {'dims': (64, 192, 384), 'num_heads': (1, 3, 6)}
    return _spikingresformer('spikingresformer_ti', pretrained, **{**options, **kwargs})


@register_model
def spikingresformer_s(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SpikingResformer-S, 17.8 M parameters, 23.2 G MACs at 224 x 224."""
    options = {'dims': (64, 256, 512), 'num_heads': (1, 4, 8)}
    return _spikingresformer('spikingresformer_s', pretrained, **{**options, **kwargs})


@register_model
def spikingresformer_m(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SpikingResformer-M, 35.6 M parameters, 42.5 G MACs at 224 x 224."""
    options = {'dims': (64, 384, 768), 'num_heads': (1, 6, 12)}
    return _spikingresformer('spikingresformer_m', pretrained, **{**options, **kwargs})


@register_model
def spikingresformer_l(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SpikingResformer-L, 60.4 M parameters, 72.9 G MACs at 224 x 224."""
    options = {'dims': (128, 512, 1024), 'num_heads': (2, 8, 16)}
    return _spikingresformer('spikingresformer_l', pretrained, **{**options, **kwargs})


@register_model
def spikingresformer_ti_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SpikingResformer-Ti* for CIFAR-10, 10.8 M parameters, 4.9 G MACs at 32 x 32."""
    return _small('spikingresformer_ti_cifar', pretrained, 10, **kwargs)


@register_model
def spikingresformer_ti_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SpikingResformer-Ti* for CIFAR-100, 10.8 M parameters, 4.9 G MACs at 32 x 32."""
    return _small('spikingresformer_ti_cifar100', pretrained, 100, **kwargs)


@register_model
def spikingresformer_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SpikingResformer of STEP for CIFAR-10, 10.8 M parameters, 4.9 G MACs at 32 x 32."""
    return _step('spikingresformer_cifar', pretrained, 10, **kwargs)


@register_model
def spikingresformer_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SpikingResformer of STEP for CIFAR-100, 10.8 M parameters, 4.9 G MACs at 32 x 32."""
    return _step('spikingresformer_cifar100', pretrained, 100, **kwargs)


@register_model
def spikingresformer_dvsg(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """SpikingResformer for clips of DVS128 Gesture, 2.7 M parameters, 23.1 G MACs at 64 x 64."""
    options = {'dims': (32, 96, 192), 'num_heads': (1, 3, 6), 'group_size': 32, 'learn_tau': True}
    options |= {'num_steps': 16, 'clips': True, 'small': True, 'img_size': 64, 'num_classes': 11}
    return _spikingresformer('spikingresformer_dvsg', pretrained, **{**options, **kwargs})
