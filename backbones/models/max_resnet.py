"""Max-ResNet-18: a residual network of spikes with shortcuts between membranes. Blocks that halve the resolution pool
what their first convolution gives by its largest values, which keeps high frequencies.

Paper: Spiking Neural Networks Need High-Frequency Information, arXiv 2505.18608.
Code: bic-L/MaxFormer@6ddd4cc, no licence stated.
Differs: The paper also has a layout of 2, 2, 2 and 2 blocks, of which there is no code. The sides of published images
    must be multiples of 4; here any size works. The first convolution, the same at every step, is computed once: in
    training its running variance differs from that of the repeated batch by the factor of the unbiased estimate.
    `drop_path_rate` has no counterpart in the code.

Shapes: T time steps, B batch, H and W height and width of the map, C channels; maps are (T * B, C, H, W).
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from timm.layers import DropPath, calculate_drop_path_rates
from timm.models import generate_default_cfgs, register_model
from torch import nn

from ..base import Stage, StagedBackbone
from ..build import create
from ..keys import check_fit, is_ours, rename, unwrap
from ..layers import LIF, ConvNorm, MaxPool, Neuron, Repeat

__all__ = ['MaxResNet']


class Block(nn.Module):
    """Two convolutions of spikes beside a shortcut of the membrane.

    y = shortcut(x) + drop_path(BN(W_2 neuron(pool(BN(W_1 neuron(x))))))

    Args:
        in_dim: Channels of the input.
        dim: Channels of the output.
        pool: Whether the resolution is halved, by max pooling; by strides in the shortcut.
        neuron: Makes a neuron.
        drop_path: Rate at which the convolutions are left out, for each image and step.

    Shape:
        (T * B, in_dim, H, W) -> (T * B, dim, H, W), or half of H and W, rounded up, with `pool`

    Source: bic-L/MaxFormer@6ddd4cc:cifar10-100/max_resnet.py:BasicBlock_MS and BasicBlock_MS_max
    """

    def __init__(
        self, in_dim: int, dim: int, pool: bool, neuron: Callable[..., Neuron], drop_path: float = 0.0, **dd: Any
    ) -> None:
        super().__init__()
        self.neuron1, self.conv1 = neuron(), ConvNorm(in_dim, dim, 3, **dd)
        self.pool = MaxPool() if pool else nn.Identity()
        self.neuron2, self.conv2 = neuron(), ConvNorm(dim, dim, 3, **dd)
        plain = in_dim == dim and not pool
        self.shortcut = nn.Identity() if plain else ConvNorm(in_dim, dim, 1, 2 if pool else 1, **dd)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.pool(self.conv1(self.neuron1(x)))
        return self.shortcut(x) + self.drop_path(self.conv2(self.neuron2(y)))


class MaxResNet(StagedBackbone):
    """Max-ResNet.

    Args:
        stem_dim: Channels of the first convolution.
        dims: Channels of the stages; each but the first halves the resolution.
        depths: Blocks of the stages.
        num_steps: Time steps T.
        img_size: Side or (height, width) in pixels; no weight depends on it, any other size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth at the last block, growing linearly from 0; none is published.

    Raises:
        ValueError: Numbers of stages differ, or a count is less than 1.

    Source: bic-L/MaxFormer@6ddd4cc:cifar10-100/max_resnet.py:ResNet
    """

    head_steps = True

    def __init__(
        self,
        stem_dim: int = 64,
        dims: Sequence[int] = (128, 256, 512),
        depths: Sequence[int] = (3, 3, 2),
        num_steps: int = 4,
        img_size: int | Sequence[int] = 32,
        num_classes: int = 10,
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
        )
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        if not dims or len(dims) != len(depths) or min(stem_dim, *dims, *depths) < 1:
            raise ValueError(
                'Max-ResNet needs a width and a depth of at least 1 for each stage, but got '
                f'stem_dim={stem_dim}, dims={tuple(dims)} and depths={tuple(depths)}.'
            )
        neuron = partial(LIF, num_steps)
        stem = {'conv': ConvNorm(in_chans, stem_dim, 3, **dd), 'repeat': Repeat(num_steps)}
        self.stem = nn.Sequential(OrderedDict(stem))
        rates: Any = iter(calculate_drop_path_rates(drop_path_rate, sum(depths)))
        stages: list[Stage] = []
        width = stem_dim
        for i, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            blocks = []
            for b in range(depth):
                blocks.append(Block(width, dim, i > 0 and b == 0, neuron, next(rates), **dd))
                width = dim
            stages.append(Stage(nn.Identity(), blocks))
            self.feature_info.append({'num_chs': dim, 'reduction': 2**i, 'module': f'stages.{i}'})
        self.stages = nn.Sequential(*stages)
        self.head_neuron = neuron()
        self._finish(**dd)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """The image as it is: the stem repeats what is behind its convolution."""
        return x

    def fire(self, x: torch.Tensor) -> torch.Tensor:
        """Pooled spikes (T * B, C) of neurons that see the map of every step."""
        return self.global_pool(self.head_neuron(x))


_BLOCK = 'layer{s}.{b}', 'stages.{s-1}.blocks.{b}'

KEYS: dict[str, str | None] = {
    'conv1.{p}': 'stem.conv.conv.{p}',
    'bn1.{p}': 'stem.conv.norm.{p}',
    f'{_BLOCK[0]}.conv{{n}}.{{p}}': f'{_BLOCK[1]}.conv{{n}}.conv.{{p}}',
    f'{_BLOCK[0]}.bn{{n}}.{{p}}': f'{_BLOCK[1]}.conv{{n}}.norm.{{p}}',
    f'{_BLOCK[0]}.downsample.1.{{p}}': f'{_BLOCK[1]}.shortcut.conv.{{p}}',
    f'{_BLOCK[0]}.downsample.2.{{p}}': f'{_BLOCK[1]}.shortcut.norm.{{p}}',
    'fc1.{p}': 'head.{p}',
}


def checkpoint_filter_fn(checkpoint: Mapping, model: MaxResNet) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes."""
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        state = rename(state, KEYS)
    return check_fit(model, state, adapt=('head', 'stem.conv.conv'))


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        'url': '',
        'num_classes': 10,
        'input_size': (3, 32, 32),
        'pool_size': (8, 8),
        'crop_pct': 1.0,
        'interpolation': 'bicubic',
        'mean': (0.4914, 0.4822, 0.4465),
        'std': (0.2470, 0.2435, 0.2616),
        'first_conv': 'stem.conv.conv',
        'classifier': 'head',
        'license': 'unknown',
        'origin_url': 'https://github.com/bic-L/MaxFormer',
        'paper_name': 'Spiking Neural Networks Need High-Frequency Information',
        'paper_ids': 'arXiv:2505.18608',
        **kwargs,
    }


default_cfgs = generate_default_cfgs(
    {
        'max_resnet18.untrained': _cfg(),
        'max_resnet18_cifar100.untrained': _cfg(
            num_classes=100, mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761)
        ),
    }
)


def _max_resnet(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(MaxResNet, variant, pretrained, checkpoint_filter_fn, **kwargs)


@register_model
def max_resnet18(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Max-ResNet-18 for CIFAR-10, 12.5 M parameters, 10.7 G MACs at 32 x 32."""
    return _max_resnet('max_resnet18', pretrained, **kwargs)


@register_model
def max_resnet18_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Max-ResNet-18 for CIFAR-100, 12.5 M parameters, 10.7 G MACs at 32 x 32."""
    return _max_resnet('max_resnet18_cifar100', pretrained, **{'num_classes': 100, **kwargs})
