"""Spikformer: a transformer whose activations are spikes over T time steps, so that attention needs neither softmax nor
multiplications. STEP compares it with other neurons and other codes of the image: `neuron` and `encoding`.

Paper: Spikformer: When Spiking Neural Network Meets Transformer, arXiv 2209.15425; STEP: A Unified Spiking Transformer
    Evaluation Platform for Fair and Reproducible Benchmarking, arXiv 2505.11151.
Code: ZK-Zhou/spikformer@6212689, MIT; Fancyssc/STEP@c0b3193, no licence.
Differs: Published files and parameter counts hold two layer norms a block that no forward pass uses (all but STEP's
    CIFAR form); they are left out here. STEP's ImageNet form has no bias in the attention's last convolution. Published
    maps must be multiples of the last stride; here any size works, as pooling covers what is left of an odd map. The
    first convolution of an image, the same at every step, is computed once: in training its running variance differs
    from that of the repeated batch by the factor of the unbiased estimate. `drop_path_rate` is an option of the code
    that nothing reads; here it works. PSN keeps its own
    initial weights, which STEP overwrites with those of a linear layer.

Shapes: T time steps, B batch, H and W height and width of the map, C channels; maps are (T * B, C, H, W).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath, calculate_drop_path_rates, trunc_normal_
from timm.models import generate_default_cfgs, register_model
from torch import nn

from ..base import Stage, StagedBackbone
from ..build import create
from ..keys import check_fit, is_ours, join, rename, unwrap
from ..layers import (
    Neuron,
    Repeat,
    SpikingConv,
    SpikingMlp,
    SpikingSelfAttention,
    check_encoding,
    encode,
    neuron_maker,
)

__all__ = ['Spikformer']

POOLS = {4: 2, 8: 3, 16: 4}  # pixels of a patch -> how many of the four patch layers pool, the last ones


class Embed(nn.Module):
    """Last layer of the patch embedding, and the position embedding, which is conditional on what is around.

    f = pool(neuron(BN(W * x)));  y = f + neuron(BN(W_p * f))

    Args:
        in_chs: Channels of the input.
        out_chs: Channels of the output.
        neuron: Makes a neuron.

    Shape:
        (T * B, in_chs, H, W) -> (T * B, out_chs, ceil(H / 2), ceil(W / 2))

    Source: arXiv 2209.15425, equations 5 and 6; ZK-Zhou/spikformer@6212689:imagenet/model.py:SPS
    """

    def __init__(self, in_chs: int, out_chs: int, neuron: Callable[..., Neuron], **dd: Any) -> None:
        super().__init__()
        self.patch = SpikingConv(in_chs, out_chs, neuron, pool='spikes', **dd)
        self.position = SpikingConv(out_chs, out_chs, neuron, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x)
        return x + self.position(x)


class Block(nn.Module):
    """Token mixer and channel mixer; what is added to the map are spikes, so that it holds whole numbers.

    x = x + drop_path(neuron(SSA(x)));  y = x + drop_path(MLP(x))

    Shape:
        (T * B, C, H, W) -> (T * B, C, H, W)

    Source: arXiv 2209.15425, equations 3 and 4
    """

    def __init__(
        self,
        attn: SpikingSelfAttention,
        mlp: SpikingMlp,
        neuron: Callable[..., Neuron],
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.attn, self.neuron, self.mlp = attn, neuron(), mlp
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.drop_path(self.neuron(self.attn(x)))
        return x + self.drop_path(self.mlp(x))


class Spikformer(StagedBackbone):
    """Spikformer at three strides, a quarter, a half and a whole patch: maps of two patch layers, then the blocks.

    Args:
        embed_dim: Channels of the blocks, a multiple of 8; the stem begins with an eighth of them.
        depth: Blocks.
        num_heads: Heads of the attention.
        mlp_ratio: Hidden width of the channel mixers, as a multiple of their channels.
        patch_size: Pixels a side that a position of the last map covers: 4, 8 or 16.
        qkv_bias: Whether the convolutions for q, k and v have biases.
        proj_bias: Whether the attention's last convolution has one.
        init_std: Standard deviation of the first weights of pointwise convolutions, which are linear layers with zero
            biases in the published CIFAR form; None for PyTorch's own.
        attn_scale: Factor of the attention's product.
        num_steps: Time steps T.
        neuron: Which neuron stands everywhere: 'lif', or a name in `backbones.layers.NEURONS`. 'glif' and 'psn' have
            weights for each time step.
        encoding: Code of the image over time: 'direct', 'rate', 'ttfs' or 'phase'; all but 'direct' read brightness
            from 0 to 1.
        img_size: Side or (height, width) in pixels; no weight depends on it, any other size works too.
        num_classes, in_chans, global_pool, drop_rate: As `StagedBackbone`.
        drop_path_rate: Rate of stochastic depth at the last block, growing linearly from 0 (published: 0).

    Raises:
        ValueError: A width, a patch or a number of heads that does not fit, or an unknown neuron or encoding.

    Source: ZK-Zhou/spikformer@6212689:imagenet/model.py:Spikformer
    """

    def __init__(
        self,
        embed_dim: int = 384,
        depth: int = 8,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        patch_size: int = 16,
        qkv_bias: bool = False,
        proj_bias: bool = True,
        init_std: float | None = None,
        attn_scale: float = 0.125,
        num_steps: int = 4,
        neuron: str = 'lif',
        encoding: str = 'direct',
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
            stem_taps=(1,),
        )
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        _check(embed_dim, depth, patch_size)
        make = neuron_maker(neuron, num_steps, **dd)
        self.neuron, self.encoding, self.init_std = neuron, check_encoding(encoding), init_std
        dims = [in_chans, embed_dim // 8, embed_dim // 4, embed_dim // 2, embed_dim]
        pools = [i >= 4 - POOLS[patch_size] for i in range(4)]
        kinds: list[Any] = ['spikes' if pool else None for pool in pools]
        repeat = Repeat(num_steps) if encoding == 'direct' else None
        first = SpikingConv(dims[0], dims[1], make, pool=kinds[0], repeat=repeat, **dd)
        self.stem = nn.Sequential(first, SpikingConv(dims[1], dims[2], make, pool=kinds[1], **dd))
        blocks = []
        rates: Any = calculate_drop_path_rates(drop_path_rate, depth)
        for rate in rates:
            attn = SpikingSelfAttention(embed_dim, num_heads, make, attn_scale, qkv_bias, proj_bias, **dd)
            mlp = SpikingMlp(embed_dim, int(embed_dim * mlp_ratio), make, first=False, **dd)
            blocks.append(Block(attn, mlp, make, rate))
        middle = SpikingConv(dims[2], dims[3], make, pool=kinds[2], **dd)
        self.stages = nn.Sequential(Stage(middle, ()), Stage(Embed(dims[3], dims[4], make, **dd), blocks))
        for i, module in enumerate(('stem.1', 'stages.0', 'stages.1'), start=1):
            self.feature_info.append({'num_chs': dims[i + 1], 'reduction': 2 ** sum(pools[: i + 1]), 'module': module})
        self._finish(**dd)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """The image at each time step; itself where it is the same at all of them, as the stem repeats it."""
        return x if self.encoding == 'direct' else encode(x, self.num_steps, self.encoding)

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """Linear layers, in the CIFAR form the pointwise ones too: normal, cut at two, and zero biases."""
        pointwise = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
        if pointwise and self.init_std is not None:
            trunc_normal_(module.weight, std=self.init_std)
        elif isinstance(module, nn.Linear):
            trunc_normal_(module.weight, std=0.02)
        else:
            return
        bias: Any = module.bias
        if bias is not None:
            nn.init.zeros_(bias)


def _check(embed_dim: int, depth: int, patch_size: int) -> None:
    if embed_dim < 8 or embed_dim % 8 or depth < 1:
        raise ValueError(
            'Spikformer needs an embed_dim that 8 divides and a depth of at least 1, but got '
            f'embed_dim={embed_dim} and depth={depth}.'
        )
    if patch_size not in POOLS:
        raise ValueError(f'patch_size must be one of {", ".join(map(str, POOLS))} pixels, but got {patch_size}.')


_BLOCK = 'block.{b}', 'stages.1.blocks.{b}'

KEYS: dict[str, str | None] = {
    '{at...}.threshold': None,  # constants of STEP's neurons
    '{at...}.act_fun.alpha': None,
    '{at...}.act_func.alpha': None,
    'patch_embed.proj_conv.{p}': 'stem.0.conv.conv.{p}',
    'patch_embed.proj_bn.{p}': 'stem.0.conv.norm.{p}',
    'patch_embed.proj_lif.{p...}': 'stem.0.neuron.{p}',
    'patch_embed.proj_conv1.{p}': 'stem.1.conv.conv.{p}',
    'patch_embed.proj_bn1.{p}': 'stem.1.conv.norm.{p}',
    'patch_embed.proj_lif1.{p...}': 'stem.1.neuron.{p}',
    'patch_embed.proj_conv2.{p}': 'stages.0.downsample.conv.conv.{p}',
    'patch_embed.proj_bn2.{p}': 'stages.0.downsample.conv.norm.{p}',
    'patch_embed.proj_lif2.{p...}': 'stages.0.downsample.neuron.{p}',
    'patch_embed.proj_conv3.{p}': 'stages.1.downsample.patch.conv.conv.{p}',
    'patch_embed.proj_bn3.{p}': 'stages.1.downsample.patch.conv.norm.{p}',
    'patch_embed.proj_lif3.{p...}': 'stages.1.downsample.patch.neuron.{p}',
    'patch_embed.rpe_conv.{p}': 'stages.1.downsample.position.conv.conv.{p}',
    'patch_embed.rpe_bn.{p}': 'stages.1.downsample.position.conv.norm.{p}',
    'patch_embed.rpe_lif.{p...}': 'stages.1.downsample.position.neuron.{p}',
    f'{_BLOCK[0]}.norm{{n}}.{{p}}': None,  # layer norms that nothing uses
    f'{_BLOCK[0]}.attn.q_lif.{{p...}}': f'{_BLOCK[1]}.attn.qkv_neuron.0.{{p}}',
    f'{_BLOCK[0]}.attn.k_lif.{{p...}}': f'{_BLOCK[1]}.attn.qkv_neuron.1.{{p}}',
    f'{_BLOCK[0]}.attn.v_lif.{{p...}}': f'{_BLOCK[1]}.attn.qkv_neuron.2.{{p}}',
    f'{_BLOCK[0]}.attn.attn_lif.{{p...}}': f'{_BLOCK[1]}.attn.attn_neuron.{{p}}',
    f'{_BLOCK[0]}.attn.proj_lif.{{p...}}': f'{_BLOCK[1]}.neuron.{{p}}',
    f'{_BLOCK[0]}.mlp.fc{{n}}_lif.{{p...}}': f'{_BLOCK[1]}.mlp.neuron{{n}}.{{p}}',
    f'{_BLOCK[0]}.{{m}}.{{layer}}_linear.{{p}}': f'{_BLOCK[1]}.{{m}}.{{layer}}.conv.{{p}}',
    f'{_BLOCK[0]}.{{m}}.{{layer}}_conv.{{p}}': f'{_BLOCK[1]}.{{m}}.{{layer}}.conv.{{p}}',
    f'{_BLOCK[0]}.{{m}}.{{layer}}_bn.{{p}}': f'{_BLOCK[1]}.{{m}}.{{layer}}.norm.{{p}}',
    'head.{p}': 'head.{p}',
}

# what STEP's neurons call their learned numbers, and its constants, behind our names of the neurons
NEURON_KEYS: dict[str, dict[str, str | None]] = {
    'glif': {
        '{at...}.alpha': '{at}.leak_gate',
        '{at...}.beta': '{at}.input_gate',
        '{at...}.gamma': '{at}.reset_gate',
        '{at...}.Vth': '{at}.threshold',
        '{at...}.reVth': '{at}.decrement',
    },
    'psn': {'{at...}.fc.{p}': '{at}.{p}'},
    'eif': {'{at...}.delta_T': None, '{at...}.theta_rh': None, '{at...}.tau': None},
}


def checkpoint_filter_fn(checkpoint: Mapping, model: Spikformer) -> dict[str, torch.Tensor]:
    """A published checkpoint in our keys for `model`, whose classifier and first convolution may have other shapes."""
    state = unwrap(checkpoint, model.published)
    if not is_ours(model, state):
        state = rename(rename(state, KEYS), {**NEURON_KEYS.get(model.neuron, {}), '{rest...}': '{rest}'})
        state = join(state, {'{at...}.qkv.{of...}': ('{at...}.q.{of...}', '{at...}.k.{of...}', '{at...}.v.{of...}')})
        pointwise = {key for key, value in model.state_dict().items() if value.shape[2:] == (1, 1)}
        state = {key: value.flatten(1)[:, :, None, None] if key in pointwise else value for key, value in state.items()}
    return check_fit(model, state, adapt=('head', 'stem.0.conv.conv'))


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        'num_classes': 1000,
        'input_size': (3, 224, 224),
        'pool_size': (14, 14),
        'crop_pct': 1.0,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.0.conv.conv',
        'classifier': 'head',
        'license': 'mit',
        'origin_url': 'https://github.com/ZK-Zhou/spikformer',
        'paper_name': 'Spikformer: When Spiking Neural Network Meets Transformer',
        'paper_ids': 'arXiv:2209.15425',
        **kwargs,
    }


def _cifar(classes: int, **kwargs: Any) -> dict[str, Any]:
    mean, std = CIFAR[classes]
    form = {'num_classes': classes, 'input_size': (3, 32, 32), 'pool_size': (8, 8), 'mean': mean, 'std': std}
    return _cfg(**{**form, **kwargs})


# classes -> mean and standard deviation of the pictures
CIFAR = {
    10: ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    100: ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}
_STEP = {
    'license': 'unknown',
    'origin_url': 'https://github.com/Fancyssc/STEP',
    'paper_ids': ('arXiv:2209.15425', 'arXiv:2505.11151'),
}

default_cfgs = generate_default_cfgs(
    {
        'spikformer_8_384.untrained': _cfg(),
        'spikformer_8_512.untrained': _cfg(),
        'spikformer_8_768.untrained': _cfg(),
        'spikformer_4_384_cifar.untrained': _cifar(10),
        'spikformer_4_384_cifar100.untrained': _cifar(100),
        'spikformer_imagenet.untrained': _cfg(**_STEP),
        'spikformer_cifar.untrained': _cifar(10, **_STEP),
        'spikformer_cifar100.untrained': _cifar(10, **{**_STEP, 'num_classes': 100}),  # trained with CIFAR-10's mean
    }
)


def _spikformer(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    if kwargs.get('encoding', 'direct') != 'direct':  # these read brightness from 0 to 1
        plain = {'mean': (0.0, 0.0, 0.0), 'std': (1.0, 1.0, 1.0)}
        kwargs['pretrained_cfg_overlay'] = {**plain, **(kwargs.get('pretrained_cfg_overlay') or {})}
    return create(Spikformer, variant, pretrained, checkpoint_filter_fn, **kwargs)


def _cifar_form(variant: str, pretrained: bool, num_classes: int, **kwargs: Any) -> nn.Module:
    """Patches of 4 pixels, linear layers with biases, 4 blocks of 384 channels."""
    widths: dict[str, Any] = {'embed_dim': 384, 'depth': 4, 'num_heads': 12, 'patch_size': 4, 'img_size': 32}
    linear: dict[str, Any] = {'qkv_bias': True, 'init_std': 0.02, 'num_classes': num_classes}
    return _spikformer(variant, pretrained, **{**widths, **linear, **kwargs})


@register_model
def spikformer_8_384(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikformer-8-384, 16.8 M parameters, 18.7 G MACs at 224 x 224."""
    return _spikformer('spikformer_8_384', pretrained, **{'embed_dim': 384, 'depth': 8, 'num_heads': 8, **kwargs})


@register_model
def spikformer_8_512(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikformer-8-512, 29.7 M parameters, 33.3 G MACs at 224 x 224."""
    return _spikformer('spikformer_8_512', pretrained, **{'embed_dim': 512, 'depth': 8, 'num_heads': 8, **kwargs})


@register_model
def spikformer_8_768(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikformer-8-768, 66.3 M parameters, 74.7 G MACs at 224 x 224."""
    return _spikformer('spikformer_8_768', pretrained, **{'embed_dim': 768, 'depth': 8, 'num_heads': 8, **kwargs})


@register_model
def spikformer_imagenet(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikformer-8-512 of STEP, 29.7 M parameters, 33.3 G MACs at 224 x 224."""
    widths: dict[str, Any] = {'embed_dim': 512, 'depth': 8, 'num_heads': 8, 'proj_bias': False}
    return _spikformer('spikformer_imagenet', pretrained, **{**widths, **kwargs})


@register_model
def spikformer_4_384_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikformer-4-384 for CIFAR-10, 9.3 M parameters, 3.7 G MACs at 32 x 32."""
    return _cifar_form('spikformer_4_384_cifar', pretrained, **{'num_classes': 10, **kwargs})


@register_model
def spikformer_4_384_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikformer-4-384 for CIFAR-100, 9.4 M parameters, 3.7 G MACs at 32 x 32."""
    return _cifar_form('spikformer_4_384_cifar100', pretrained, **{'num_classes': 100, **kwargs})


@register_model
def spikformer_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikformer-4-384 of STEP for CIFAR-10, 9.3 M parameters, 3.7 G MACs at 32 x 32."""
    return _cifar_form('spikformer_cifar', pretrained, **{'num_classes': 10, **kwargs})


@register_model
def spikformer_cifar100(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Spikformer-4-384 of STEP for CIFAR-100, 9.4 M parameters, 3.7 G MACs at 32 x 32."""
    return _cifar_form('spikformer_cifar100', pretrained, **{'num_classes': 100, **kwargs})
