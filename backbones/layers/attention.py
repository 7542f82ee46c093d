"""Multi-head attention of tokens, on themselves or on others."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .conv_norm import require_eval
from .free import free_reshape
from .onednn import linear
from .parts import is_watched

__all__ = ['Attention', 'MapAttention', 'SelfAttention']


class Attention(nn.Module):
    """Attention of all tokens.

    y = W softmax(q k^T d^-1/2) v + b,  q of the tokens, k and v of the context, d channels in each head

    Args:
        dim: Channels C.
        num_heads: Heads; they divide C.

    Shape:
        (B, N, C), and optionally a context (B, M, C) in the place of the tokens themselves -> (B, N, C)

    Source: Attention Is All You Need, arXiv 1706.03762, section 3.2.
    """

    def __init__(self, dim: int, num_heads: int, device=None, dtype=None) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'Heads must divide the channels, but got {num_heads} heads for {dim} channels.')
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim, **dd)
        self.kv = nn.Linear(dim, 2 * dim, **dd)
        self.proj = nn.Linear(dim, dim, **dd)

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        k, v = _linear(self.kv, x if context is None else context).chunk(2, -1)
        q = _linear(self.q, x)
        q, k, v = (t.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))  # B heads N d
        return _linear(self.proj, attend(q, k, v).transpose(1, 2).flatten(2))  # B N C


class SelfAttention(nn.Module):
    """Multi-head self-attention.

    y = W softmax(q k^T d^-1/2) v + b,  (q || k || v) = W_qkv x + b_qkv, d channels in each head

    PyTorch's MultiheadAttention has the same weights, but runs as an operator of its own that cannot be exported.

    Args:
        dim: Channels C.
        num_heads: Heads; they divide C.

    Shape:
        (B, N, C) -> (B, N, C)

    Source: Attention Is All You Need, arXiv 1706.03762, section 3.2.
    """

    def __init__(self, dim: int, num_heads: int, device=None, dtype=None) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'Heads must divide the channels, but got {num_heads} heads for {dim} channels.')
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, **dd)
        self.proj = nn.Linear(dim, dim, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (t.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        return self.proj(attend(q, k, v).transpose(1, 2).flatten(2))  # B heads N d -> B N C

    @torch.no_grad()
    def scaled(self, gamma: torch.Tensor) -> 'SelfAttention':
        """The same followed by a scale (C) of each channel, as one."""
        require_eval(self)
        fused = copy.deepcopy(self)
        fused.proj.weight.copy_(self.proj.weight.double() * gamma.double()[:, None])
        fused.proj.bias.copy_(self.proj.bias.double() * gamma.double())
        return fused


class MapAttention(Attention):
    """Attention of all positions of a map.

    Shape:
        (B, H, W, C) -> (B, H, W, C)
    """

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        batch, height, width, channels = x.shape
        y = super().forward(free_reshape(x, batch, height * width, channels), context)
        return free_reshape(y, batch, height, width, channels)


def _linear(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """`layer(x)`, faster where numbers are computed now by a plain layer that nobody watches."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or type(layer) is not nn.Linear or is_watched(layer):
        return layer(x)
    return linear(x.flatten(0, 1), layer.weight, layer.bias).view(*x.shape[:2], -1)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """softmax(q k^T d^-1/2) v for (B, heads, N, d) and twice (B, heads, M, d)."""
    if torch.compiler.is_exporting():  # as plain products
        return ((q * q.shape[-1] ** -0.5) @ k.mT).softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v)
