"""Normalisation, linear layer, depthwise convolution, GELU, linear layer, for a few images at a time.

    y = W_2 GELU(K * (W_1 LN(x) + b_1) + b) + b_2

The hidden map, three to eight times as wide as the map, stays in the cache of a processor. For the backward pass it is
kept as it enters the convolution and the GELU; what the norm and the GELU gave is made again.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .map_depthwise import MapDepthwise, convolve_map, convolve_map_grads
from .mlp_parts import fits_parts
from .onednn import product, weight_gradient
from .parts import is_watched, may_run_in_parts, parts_of

__all__ = ['conv_mlp_in_parts', 'fits_conv_parts']

PART = 3 * 2**18  # elements of the hidden map that each thread takes at a time


def fits_conv_parts(x: torch.Tensor, norm: Any, fc1: Any, spatial: MapDepthwise, act: Any, fc2: Any) -> bool:
    """Whether `conv_mlp_in_parts` computes what the layers would, one after the other: plain layers nobody watches."""
    if not fits_parts(x, norm, fc1, act, fc2) or not may_run_in_parts(x, spatial.weight, spatial.bias):
        return False
    return min(x.shape) > 0 and not is_watched(spatial)


def conv_mlp_in_parts(
    x: torch.Tensor, norm: nn.LayerNorm, fc1: nn.Linear, spatial: MapDepthwise, fc2: nn.Linear
) -> torch.Tensor:
    """The equation for layers that `fits_conv_parts`, (B, H, W, C) -> (B, H, W, C)."""
    kernels, bias = spatial.kernels(), spatial.bias
    values = norm.weight, norm.bias, fc1.weight, fc1.bias, kernels, bias, fc2.weight, fc2.bias
    return _InParts.apply(x, *values, norm.eps, torch.is_grad_enabled() and x.requires_grad)


def _rows(x: torch.Tensor) -> torch.Tensor:
    """(B, H, W, C) -> (B H W, C)."""
    return x.reshape(-1, x.shape[-1])


def _parts(x: torch.Tensor, w1: torch.Tensor) -> Any:
    return parts_of(x, PART * x.shape[-1] // len(w1))


class _InParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gamma, beta, w1, b1, kernels, bias, w2, b2, eps: float, keep: bool) -> torch.Tensor:
        out, kept = torch.empty_like(x, memory_format=torch.contiguous_format), []
        for part in _parts(x, w1):
            h = F.linear(F.layer_norm(x[part], x.shape[3:], gamma, beta, eps), w1, b1)
            g = convolve_map(h, kernels, bias)
            kept += [h, g] if keep else []
            torch.addmm(b2, _rows(F.gelu(g)), w2.t(), out=_rows(out[part]))
        if keep:
            ctx.save_for_backward(x, gamma, beta, w1, b1, kernels, bias, w2, b2, *kept)
            ctx.eps = eps
        return out

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        saved = ctx.saved_tensors  # to be asked for once
        values, kept = list(saved[:9]), saved[9:]
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            return *_again(values, ctx.eps, grad), None, None
        x, gamma, beta, w1, _, kernels, _, w2, _ = values
        below = torch.empty_like(x, memory_format=torch.contiguous_format)
        totals: list[Any] = [None] * 8
        for i, part in enumerate(_parts(x, w1)):
            h, g = kept[2 * i : 2 * i + 2]
            top = _rows(grad[part])
            y, mean, rstd = torch.native_layer_norm(x[part], x.shape[3:], gamma, beta, ctx.eps)
            d_w2, d_b2 = weight_gradient(top, _rows(F.gelu(g))), top.sum(0)
            d_g = torch.ops.aten.gelu_backward(product(top, w2.t()).view(g.shape), g)
            d_h, d_kernels, d_bias = convolve_map_grads(h, kernels, d_g)
            d_w1, d_b1 = weight_gradient(_rows(d_h), _rows(y)), _rows(d_h).sum(0)
            d_y = product(_rows(d_h), w1.t()).view(y.shape)
            below[part], d_gamma, d_beta = torch.ops.aten.native_layer_norm_backward(
                d_y, x[part], x.shape[3:], mean, rstd, gamma, beta, [True] * 3
            )
            found = d_gamma, d_beta, d_w1, d_b1, d_kernels, d_bias, d_w2, d_b2
            totals = [new if old is None else old.add_(new) for old, new in zip(totals, found, strict=True)]
        return below, *totals, None, None


def _again(values: list[torch.Tensor], eps: float, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Gradients of the equation, as operators that have gradients themselves."""
    x, gamma, beta, w1, b1, kernels, bias, w2, b2 = values
    h = F.linear(F.layer_norm(x, x.shape[-1:], gamma, beta, eps), w1, b1)
    y = F.linear(F.gelu(convolve_map(h, kernels, bias)), w2, b2)
    return torch.autograd.grad(y, values, grad, create_graph=True)
