"""Attention of spikes: products of 0 and 1 are sums, and none needs a softmax."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .conv_norm import ConvNorm
from .free import free_reshape
from .neuron_maker import grouped
from .spiking import Neuron

__all__ = ['SpikingSelfAttention', 'TokenQK', 'check_heads', 'split_heads']


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(T B, C, H, W) -> (T B, heads, C / heads, N)"""
    height, width = x.shape[2:]
    return free_reshape(x, x.shape[0], heads, x.shape[1] // heads, height * width)


class SpikingSelfAttention(nn.Module):
    """Self-attention of spikes, without the neurons at its entrance and exit, which differ between families.

    q, k, v = neuron(BN(W x));  y = neuron(scale q k^T v), threshold 0.5;  BN(W_o y)

    The product is taken in whichever order multiplies less: sums of spikes are whole numbers, so that both are equal.

    Args:
        dim: Channels.
        num_heads: Heads, contiguous groups of channels.
        neuron: Makes a neuron; takes `v_threshold`.
        scale: Factor of the product.
        qkv_bias: Whether the convolutions for q, k and v have biases.
        proj_bias: Whether the last convolution has one.
        threshold: Charge at which the neurons behind the product fire.

    Shape:
        (T * B, C, H, W) -> (T * B, C, H, W)

    Raises:
        ValueError: The heads do not divide the channels.

    Source: arXiv 2209.15425, equations 9 to 11
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        neuron: Callable[..., Neuron],
        scale: float = 0.125,
        qkv_bias: bool = False,
        proj_bias: bool = True,
        threshold: float = 0.5,
        **dd: Any,
    ) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads, self.scale = num_heads, scale
        self.qkv = ConvNorm(dim, 3 * dim, bias=qkv_bias, **dd)
        self.qkv_neuron = grouped(neuron, 3)
        self.attn_neuron = neuron(v_threshold=threshold)
        self.proj = ConvNorm(dim, dim, bias=proj_bias, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.product(self.qkv_neuron(self.qkv(x)))
        return self.proj(self.attn_neuron(y * self.scale))

    def product(self, spikes: torch.Tensor) -> torch.Tensor:
        """q k^T v of each head: (T * B, 3 C, H, W) -> (T * B, C, H, W)."""
        count, channels, *sides = spikes.shape
        q, k, v = (split_heads(y, self.num_heads) for y in spikes.chunk(3, 1))  # TB h d N
        length, width = q.shape[3], q.shape[2]
        k = k.transpose(2, 3)
        y = v @ (k @ q) if isinstance(length, int) and length < width else (v @ k) @ q
        return free_reshape(y, count, channels // 3, *sides)


class TokenQK(nn.Module):
    """Gate of tokens: those pass at which a head's sum of q reaches the threshold.

    q, k = neuron(BN(W x));  g = neuron(sum of q over the channels of a head), threshold 0.5;  BN(W_o (g k))

    Args:
        dim: Channels.
        num_heads: Heads, contiguous groups of channels.
        neuron: Makes a neuron; takes `v_threshold`.
        proj_bias: Whether the last convolution has a bias.

    Shape:
        (T * B, C, H, W) -> (T * B, C, H, W)

    Raises:
        ValueError: The heads do not divide the channels.

    Source: arXiv 2403.16552, equations 4 to 6
    """

    def __init__(
        self, dim: int, num_heads: int, neuron: Callable[..., Neuron], proj_bias: bool = True, **dd: Any
    ) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.qk = ConvNorm(dim, 2 * dim, **dd)
        self.qk_neuron = grouped(neuron, 2)
        self.attn_neuron = neuron(v_threshold=0.5)
        self.proj = ConvNorm(dim, dim, bias=proj_bias, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k = (split_heads(y, self.num_heads) for y in self.qk_neuron(self.qk(x)).chunk(2, 1))  # TB h d N
        gate = self.attn_neuron(q.sum(2, keepdim=True))  # TB h 1 N
        return self.proj(free_reshape(gate * k, *x.shape))


def check_heads(dim: int, num_heads: int) -> None:
    """Refuse heads that do not divide the channels.

    Raises:
        ValueError: They do not.
    """
    if num_heads < 1 or dim % num_heads:
        raise ValueError(f'num_heads must divide the {dim} channels, but got {num_heads}: give a divisor of {dim}.')
