"""Attention whose weights are spikes: two products with a neuron between them.

Shapes: B batch, T time steps, C channels, H and W height and width of the map, h heads, d = C / h, N = H W positions,
M patches.
"""

from collections.abc import Callable
from typing import Any

import torch
from timm.layers import DropPath
from torch import nn

from .constants import is_eager
from .conv_norm import ConvNorm, require_eval
from .free import free_reshape
from .parts import is_watched
from .patch import pad_to_patches
from .spiking import Neuron
from .spiking_attention import check_heads, split_heads

__all__ = ['DualSpikeAttention', 'attend_spikes']

MOMENTUM = 0.999  # of the rates of firing
PART = 2**18  # spikes for each thread that are made at a time: they stay in the cache until they are used


def attend_spikes(
    k: torch.Tensor, v: torch.Tensor, q: torch.Tensor, neuron: Callable[[torch.Tensor], torch.Tensor] | nn.Module
) -> torch.Tensor:
    """v neuron(k^T q), where positions of q do not see each other.

    Without gradients a few positions are taken at a time, so that the spikes between the products, M times N of them,
    never exist as a whole.

    Args:
        k: Keys (T B, h, d, M).
        v: Values (T B, h, d, M).
        q: Queries (T B, h, d, N).
        neuron: Neuron, which gives each element from the time steps of that element alone.

    Returns:
        (T B, h, d, N).
    """
    k = k.transpose(2, 3)
    if torch.is_grad_enabled() or not is_eager(q) or (isinstance(neuron, nn.Module) and is_watched(neuron)):
        return v @ neuron(k @ q)
    step = max(1, PART * torch.get_num_threads() // max(1, k[..., 0].numel()))
    if step >= q.shape[3]:
        return v @ neuron(k @ q)
    return torch.cat([v @ neuron(k @ part) for part in q.split(step, 3)], 3)


class DualSpikeAttention(nn.Module):
    """Dual spike self-attention with its shortcut: both of its products multiply spikes by real numbers.

    s = neuron(x);  k, v = halves of each head of BN(W s), W a convolution of patches
    A = neuron(k^T s / sqrt(r_s d));  y = x + drop_path(BN(W_o neuron(v A / sqrt(r_A L))))

    r_s and r_A are the rates at which s and A fire in each head, moving averages that training keeps.

    Args:
        dim: Channels C.
        num_heads: Heads, contiguous groups of channels.
        patch: Side of a patch in positions.
        length: L, patches that the second scale counts, whatever the size of the map.
        neuron: Makes a neuron.
        drop_path: Rate of stochastic depth.

    Shape:
        (T * B, C, H, W) -> (T * B, C, H, W)

    Raises:
        ValueError: The heads do not divide the channels.

    Source: xyshi2000/SpikingResformer@3f75127:models/spikingresformer.py:DSSA
    """

    rate_in: torch.Tensor
    rate_attn: torch.Tensor

    def __init__(
        self,
        dim: int,
        num_heads: int,
        patch: int,
        length: int,
        neuron: Callable[..., Neuron],
        drop_path: float = 0.0,
        **dd: Any,
    ) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads, self.patch, self.length = num_heads, patch, length
        self.neuron, self.attn_neuron, self.out_neuron = neuron(), neuron(), neuron()
        self.patches = ConvNorm(dim, 2 * dim, patch, stride=patch, padding=0, **dd)
        self.proj = ConvNorm(dim, dim, **dd)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        for name in ('rate_in', 'rate_attn'):
            self.register_buffer(name, torch.zeros(num_heads, 1, 1, **dd))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.neuron(x)
        k, v = _halves(self.patches(pad_to_patches(s, self.patch)), self.num_heads)  # TB h d M
        heads = split_heads(s, self.num_heads)  # TB h d N
        if self.training:
            _follow(self.rate_in, heads)
            attn = self.attn_neuron((k * self.scales()[0].to(k.dtype)).transpose(2, 3) @ heads)  # TB h M N
            _follow(self.rate_attn, attn)
            y = (v * self.scales()[1].to(v.dtype)) @ attn
        else:
            k, v = (part * scale.to(part.dtype) for part, scale in zip((k, v), self.scales(), strict=True))
            y = attend_spikes(k, v, heads, self.attn_neuron)
        return x + self.drop_path(self.proj(self.out_neuron(free_reshape(y, *x.shape))))

    def scales(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Factors (h, 1, 1) of both products; before anything has fired they are those of a rate of 1."""
        width = self.proj.conv.in_channels // self.num_heads
        rates = ((self.rate_in, width), (self.rate_attn, self.length))
        first, second = ((torch.where(rate == 0, 1.0, rate) * count).rsqrt() for rate, count in rates)
        return first, second

    def fuse(self) -> 'FusedAttention':
        """The same with both scales inside the convolution of the patches."""
        return FusedAttention(self)


class FusedAttention(nn.Module):
    """Deployed form of `DualSpikeAttention`: y = x + W_o neuron(v neuron(k^T s)), the scales inside of k and v."""

    def __init__(self, attention: DualSpikeAttention) -> None:
        super().__init__()
        require_eval(attention)
        self.num_heads, self.patch = attention.num_heads, attention.patch
        self.neuron, self.attn_neuron = attention.neuron, attention.attn_neuron
        self.out_neuron = attention.out_neuron
        self.patches, self.proj = attention.patches.fuse(), attention.proj.fuse()
        with torch.no_grad():
            scales = torch.stack([scale.double().flatten() for scale in attention.scales()], 1)  # h 2
            factor = scales.repeat_interleave(self.patches.out_channels // scales.numel(), 1).flatten()  # 2 C
            self.patches.weight.copy_(self.patches.weight.double() * factor[:, None, None, None])
            assert self.patches.bias is not None
            self.patches.bias.copy_(self.patches.bias.double() * factor)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.neuron(x)
        k, v = _halves(self.patches(pad_to_patches(s, self.patch)), self.num_heads)
        y = attend_spikes(k, v, split_heads(s, self.num_heads), self.attn_neuron)
        return x + self.proj(self.out_neuron(free_reshape(y, *x.shape)))


def _halves(y: torch.Tensor, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(T B, 2 C, H', W') -> the halves of each head, twice (T B, h, d, M)."""
    first, second = split_heads(y, heads).chunk(2, 2)
    return first, second


@torch.no_grad()
def _follow(rate: torch.Tensor, spikes: torch.Tensor) -> None:
    """Move an average (h, 1, 1) towards the rate of spikes (T B, h, ..., ...); the first one seen is its start.

    Not while a backward pass does the forward pass again, which must give what it gave.
    """
    if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1:
        return
    seen = spikes.mean((0, 2, 3), dtype=rate.dtype)[:, None, None]
    rate.copy_(torch.where((rate == 0).all(), seen, rate).lerp(seen, 1 - MOMENTUM))
