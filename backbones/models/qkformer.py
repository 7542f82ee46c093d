"""QKFormer: a hierarchy of spiking blocks that passes tokens by the sums of their queries where maps are large, and
attends to all of them in the last stage; a spiking shortcut goes around the convolutions between stages.

Paper: QKFormer: Hierarchical Spiking Transformer using Q-K Attention, arXiv 2403.16552.
Code: zhouchenlin2096/QKFormer@c2a00e8, no licence stated; qkformer_cifar*, qkformer_imagenet* follow the
    re-implementation in Fancyssc/STEP@c0b3193, no licence stated.
Differs: In the authors' code the neurons behind self-attention run along an axis of steps and images, so that they take
    the images of a batch for further steps, and what is left of one image's charge meets the next. Published numbers
    were made so, and the authors' forms do it here too; `mixed_batch=False` keeps images apart, as STEP does. For a
    single image both are the same. STEP has one block in the second stage of its ImageNet form, the authors have two;
    its configuration asks for 6 heads of 512 channels, which cannot be, so that there are 8 here, as by its default.
    The authors' attention takes square maps alone, and all published maps must be multiples of the last stride; here
    any size works. What is the same at every step, the first convolution of an image, is computed once: in training its
    running variance then differs from that of the repeated batch by the unbiased estimate's factor. `drop_path_rate` is
    an argument of the code without effect.

Shapes: T time steps, B batch, H and W height and width of the map, C channels; maps are (T * B, C, H, W).
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
from ..keys import check_fit, is_ours, join, rename, unwrap
from ..layers import LIF, ConvNorm, MixedLIF, Neuron, Repeat, SpikingConv, SpikingMlp, SpikingSelfAttention, TokenQK

__all__ = ['QKFormer']


class Block(nn.Module):
    """Token mixer and channel mixer; what is added to the map are spikes, so that it holds whole numbers.

    x = x + drop_path(neuron(mixer(x)));  y = x + drop_path(neuron(BN(W_2 neuron(BN(W_1 x)))))

    Args:
        dim: Channels.
        mixer: Gate of tokens, or self-attention.
        mixer_neuron: What fires behind it.
        mlp_ratio: Hidden width of the channel mixer, as a multiple of the channels.
        neuron: Makes a neuron.
        drop_path: Rate at which a branch is left out, for each image and step.

    Shape:
        (T * B, C, H, W) -> (T * B, C, H, W)

    Source: zhouchenlin2096/QKFormer@c2a00e8:imagenet/qkformer.py:TokenSpikingTransformer, SpikingTransformer
    """

    def __init__(
        self,
        dim: int,
        mixer: TokenQK | SpikingSelfAttention,
        mixer_neuron: Neuron,
        mlp_ratio: float,
        neuron: Callable[..., Neuron],
        drop_path: float = 0.0,
        **dd: Any,
    ) -> None:
        super().__init__()
        self.mixer, self.neuron = mixer, mixer_neuron
        self.mlp = SpikingMlp(dim, int(dim * mlp_ratio), neuron, first=False, **dd)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.drop_path(self.neuron(self.mixer(x)))
        return x + self.drop_path(self.mlp(x))


class DeformedShortcut(nn.Module):
    """Embedding between stages: spiking convolutions, and a shortcut of another width and resolution around them.

    y = (neuron . pool . BN . W_n) ... (neuron . pool . BN . W_1) x + neuron(BN(W x)),  W of 1 x 1 with a stride

    Args:
        in_chs: Channels of the input.
        out_chs: Channels of the output.
        pools: For each convolution, whether the input of its neuron is pooled to half the size; one at most is.
        neuron: Makes a neuron.

    Shape:
        (T * B, in_chs, H, W) -> (T * B, out_chs, H, W), or half of H and W, rounded up, with a pooling

    Source: zhouchenlin2096/QKFormer@c2a00e8:imagenet/qkformer.py:PatchEmbeddingStage, arXiv 2403.16552, equation 13
    """

    def __init__(
        self, in_chs: int, out_chs: int, pools: Sequence[bool], neuron: Callable[..., Neuron], **dd: Any
    ) -> None:
        super().__init__()
        widths = [in_chs, *(out_chs for _ in pools)]
        self.body = nn.Sequential(
            *(
                SpikingConv(widths[i], out_chs, neuron, pool='membrane' if pool else None, **dd)
                for i, pool in enumerate(pools)
            )
        )
        self.shortcut = ConvNorm(in_chs, out_chs, stride=2 if any(pools) else 1, **dd)
        self.neuron = neuron()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.neuron(self.shortcut(x))


class QKFormer(StagedBackbone):
    """QKFormer with three stages: token gates in two of them, self-attention in the last.

    Args:
        embed_dim: Channels of the last stage, a multiple of 8; the others have a quarter and half of them.
        depths: Blocks of the stages.
        num_heads: Heads, as many in every stage.
        mlp_ratio: Hidden width of the channel mixers, as a multiple of their channels.
        small: Whether the network is that of small images, with strides 1, 2 and 4: nothing is pooled in front of the
            first stage, and between stages it is the second convolution that pools. Else the strides are 4, 8 and 16.
        mixed_batch: Whether neurons behind self-attention take the images of a batch for further time steps, as the
            authors' code does: outputs for an image then depend on those before it.
        num_steps: Time steps T.
        img_size: Side or (height, width) in pixels; no weight depends on it, any other size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth at the last block, growing linearly from 0, for each image and step.

    Raises:
        ValueError: A width or depth that cannot be, another number of stages, or heads that do not divide a width.

    Source: zhouchenlin2096/QKFormer@c2a00e8:imagenet/qkformer.py:hierarchical_spiking_transformer
    """

    def __init__(
        self,
        embed_dim: int = 384,
        depths: Sequence[int] = (1, 2, 7),
        num_heads: int = 6,
        mlp_ratio: float = 4.0,
        small: bool = False,
        mixed_batch: bool = False,
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
        super().__init__(
            num_classes=num_classes,
            in_chans=in_chans,
            global_pool=global_pool,
            drop_rate=drop_rate,
            img_size=img_size,
            num_steps=num_steps,
        )
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        _check(embed_dim, depths)
        neuron = partial(LIF, num_steps)
        dims = [embed_dim // 8, embed_dim // 4, embed_dim // 2, embed_dim]
        pool = None if small else 'membrane'
        self.stem = SpikingConv(in_chans, dims[0], neuron, pool=pool, repeat=Repeat(num_steps), **dd)
        first, later = ((False,), (False, True)) if small else ((True, False), (True, False))
        rates: Any = iter(calculate_drop_path_rates(drop_path_rate, sum(depths)))
        stages = []
        for i, depth in enumerate(depths):
            dim = dims[i + 1]
            attends = i == len(depths) - 1
            blocks = []
            for _ in range(depth):
                mixer = (SpikingSelfAttention if attends else TokenQK)(dim, num_heads, neuron, **dd)
                fires = MixedLIF(num_steps) if attends and mixed_batch else neuron()
                blocks.append(Block(dim, mixer, fires, mlp_ratio, neuron, next(rates), **dd))
            stages.append(Stage(DeformedShortcut(dims[i], dim, later if i else first, neuron, **dd), blocks))
            reduction = (1 if small else 4) * 2**i
            self.feature_info.append({'num_chs': dim, 'reduction': reduction, 'module': f'stages.{i}'})
        self.stages = nn.Sequential(*stages)
        self._finish(**dd)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """The image itself, which the stem repeats behind its convolution."""
        return x

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Linear layers: normal, cut at two, with standard deviation 0.02, and zero biases."""
        if isinstance(module, nn.Linear):
            trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)


def _check(embed_dim: int, depths: Sequence[int]) -> None:
    if embed_dim < 8 or embed_dim % 8 or len(depths) != 3 or min(depths) < 1:
        raise ValueError(
            'QKFormer needs an embed_dim that 8 divides and three stages of at least one block, but got '
            f'embed_dim={embed_dim} and depths={tuple(depths)}.'
        )


_BLOCK = 'stage{s}.{b}', 'stages.{s-1}.blocks.{b}'
_EMBED = 'patch_embed{s}', 'stages.{s-1}.downsample'

KEYS: dict[str, str | None] = {
    # constants of STEP's neurons
    '{neuron...}.threshold': None,
    '{neuron...}.act_fun.alpha': None,
    # published embeddings name the convolutions of the body 1 and 2 in the first stage, 3 and 4 in the others
    'patch_embed1.proj_conv.{p}': 'stem.conv.conv.{p}',
    'patch_embed1.proj_bn.{p}': 'stem.conv.norm.{p}',
    f'{_EMBED[0]}.proj_res_conv.{{p}}': f'{_EMBED[1]}.shortcut.conv.{{p}}',
    f'{_EMBED[0]}.proj_res_bn.{{p}}': f'{_EMBED[1]}.shortcut.norm.{{p}}',
    'patch_embed1.proj{n}_conv.{p}': 'stages.0.downsample.body.{n-1}.conv.conv.{p}',
    'patch_embed1.proj{n}_bn.{p}': 'stages.0.downsample.body.{n-1}.conv.norm.{p}',
    f'{_EMBED[0]}.proj{{n}}_conv.{{p}}': f'{_EMBED[1]}.body.{{n-3}}.conv.conv.{{p}}',
    f'{_EMBED[0]}.proj{{n}}_bn.{{p}}': f'{_EMBED[1]}.body.{{n-3}}.conv.norm.{{p}}',
    f'{_BLOCK[0]}.mlp.{{f}}1_conv.{{p}}': f'{_BLOCK[1]}.mlp.fc1.conv.{{p}}',
    f'{_BLOCK[0]}.mlp.{{f}}1_bn.{{p}}': f'{_BLOCK[1]}.mlp.fc1.norm.{{p}}',
    f'{_BLOCK[0]}.mlp.{{f}}2_conv.{{p}}': f'{_BLOCK[1]}.mlp.fc2.conv.{{p}}',
    f'{_BLOCK[0]}.mlp.{{f}}2_bn.{{p}}': f'{_BLOCK[1]}.mlp.fc2.norm.{{p}}',
    f'{_BLOCK[0]}.mlp.fc_conv{{n}}.{{p}}': f'{_BLOCK[1]}.mlp.fc{{n}}.conv.{{p}}',
    f'{_BLOCK[0]}.mlp.fc_bn{{n}}.{{p}}': f'{_BLOCK[1]}.mlp.fc{{n}}.norm.{{p}}',
    # the mixer is called tssa, ssa or attn
    f'{_BLOCK[0]}.{{mixer}}.{{x}}_conv.{{p}}': f'{_BLOCK[1]}.mixer.{{x}}.conv.{{p}}',
    f'{_BLOCK[0]}.{{mixer}}.{{x}}_bn.{{p}}': f'{_BLOCK[1]}.mixer.{{x}}.norm.{{p}}',
    'head.{p}': 'head.{p}',
}

_MIXER = 'stages.{s}.blocks.{b}.mixer', 'stages.2.blocks.{b}.mixer'
_GATES = {f'{_MIXER[0]}.qk.{{of...}}': tuple(f'{_MIXER[0]}.{x}.{{of...}}' for x in 'qk')}
_ATTENTION = {f'{_MIXER[1]}.qkv.{{of...}}': tuple(f'{_MIXER[1]}.{x}.{{of...}}' for x in 'qkv')}


def checkpoint_filter_fn(checkpoint: Mapping, model: QKFormer) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes.

    Published convolutions of tokens have kernels of one axis, (C, C', 1).
    """
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        state = join(join(rename(state, KEYS), _ATTENTION), _GATES)
        state = {key: value[..., None] if value.ndim == 3 else value for key, value in state.items()}
    return check_fit(model, state, adapt=('head', 'stem.conv.conv'))


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        'num_classes': 1000,
        'input_size': (3, 224, 224),
        'pool_size': (14, 14),
        'crop_pct': 1.0,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.conv.conv',
        'classifier': 'head',
        'license': 'unknown',
        'origin_url': 'https://github.com/zhouchenlin2096/QKFormer',
        'paper_name': 'QKFormer: Hierarchical Spiking Transformer using Q-K Attention',
        'paper_ids': 'arXiv:2403.16552',
        **kwargs,
    }


_STEP: dict[str, Any] = {'origin_url': 'https://github.com/Fancyssc/STEP'}
# CIFAR-100 was trained with the mean and deviation of CIFAR-10
_CIFAR10: dict[str, Any] = {
    **_STEP,
    'input_size': (3, 32, 32),
    'pool_size': (8, 8),
    'num_classes': 10,
    'mean': (0.4914, 0.4822, 0.4465),
    'std': (0.2470, 0.2435, 0.2616),
}

# no published file has an address that a program can fetch: checkpoints/index.yaml says where they lie
default_cfgs = generate_default_cfgs(
    {
        **{f'qkformer_10_{dim}.zcl_in1k': _cfg(crop_pct=0.875) for dim in (384, 512, 768)},  # beyond 224 pixels: 1
        'qkformer_imagenet.step_in1k': _cfg(**_STEP),
        'qkformer_imagenet_512.step_in1k': _cfg(**_STEP),
        'qkformer_cifar.step_cifar10': _cfg(**_CIFAR10),
        'qkformer_cifar100.step_cifar100': _cfg(**{**_CIFAR10, 'num_classes': 100}),
    }
)


def _qkformer(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    return create(QKFormer, variant, pretrained, checkpoint_filter_fn, **kwargs)


_AUTHORS: dict[str, Any] = {'depths': (1, 2, 7), 'mixed_batch': True}
_SMALL: dict[str, Any] = {'depths': (1, 1, 2), 'num_heads': 8, 'small': True, 'img_size': 32}


@register_model
def qkformer_10_384(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """QKFormer HST-10-384, 16.5 M parameters, 23.5 G MACs at 224 x 224."""
    return _qkformer('qkformer_10_384', pretrained, **{**_AUTHORS, 'embed_dim': 384, 'num_heads': 6, **kwargs})


@register_model
def qkformer_10_512(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """QKFormer HST-10-512, 29.1 M parameters, 41.6 G MACs at 224 x 224."""
    return _qkformer('qkformer_10_512', pretrained, **{**_AUTHORS, 'embed_dim': 512, 'num_heads': 8, **kwargs})


@register_model
def qkformer_10_768(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """QKFormer HST-10-768, 65.0 M parameters, 93.1 G MACs at 224 x 224."""
    return _qkformer('qkformer_10_768', pretrained, **{**_AUTHORS, 'embed_dim': 768, 'num_heads': 12, **kwargs})


@register_model
def qkformer_imagenet(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """STEP's QKFormer with 384 channels, 16.1 M parameters, 22.2 G MACs at 224 x 224."""
    args = {'embed_dim': 384, 'depths': (1, 1, 7), 'num_heads': 8}
    return _qkformer('qkformer_imagenet', pretrained, **{**args, **kwargs})


@register_model
def qkformer_imagenet_512(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """STEP's QKFormer with 512 channels, 28.4 M parameters, 39.3 G MACs at 224 x 224."""
    args = {'embed_dim': 512, 'depths': (1, 1, 7), 'num_heads': 8}
    return _qkformer('qkformer_imagenet_512', pretrained, **{**args, **kwargs})


@register_model
def qkformer_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """QKFormer for CIFAR-10, 6.7 M parameters, 6.1 G MACs at 32 x 32."""
    return _qkformer('qkformer_cifar', pretrained, **{**_SMALL, 'num_classes': 10, **kwargs})


@register_model
def qkformer_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """QKFormer for CIFAR-100, 6.7 M parameters, 6.1 G MACs at 32 x 32."""
    return _qkformer('qkformer_cifar100', pretrained, **{**_SMALL, 'num_classes': 100, **kwargs})
