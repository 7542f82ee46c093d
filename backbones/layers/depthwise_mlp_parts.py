"""Normalisation, linear layer, depthwise convolution, GELU, linear layer, for a few images at a time.

    h = W_1 LN(x) + b_1;  y = W_2 GELU(K * h + b) + b_2

On a processor the hidden map, three times as wide as the map itself, goes through memory several times; that of a few
images stays in the cache. For the backward pass it is kept in front of the convolution and behind it; what the norm
and the GELU gave is made again, which takes less memory and little time.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .map_depthwise import MapDepthwise, convolve_map, convolve_map_grads
from .mlp_parts import fits_parts
from .parts import may_run_in_parts, parts_of

__all__ = ['depthwise_mlp_in_parts', 'fits_depthwise_parts']

PART = 2**18  # elements of the map that each thread takes at a time


def fits_depthwise_parts(x: torch.Tensor, norm: Any, fc1: Any, spatial: MapDepthwise, act: Any, fc2: Any) -> bool:
    """Whether `depthwise_mlp_in_parts` computes what the layers would, one after the other, and is no slower."""
    if not fits_parts(x, norm, fc1, act, fc2) or not may_run_in_parts(x, spatial.weight, spatial.bias):
        return False
    return not (
        spatial._forward_hooks or spatial._forward_pre_hooks or spatial._backward_hooks or spatial._backward_pre_hooks
    )


def depthwise_mlp_in_parts(
    x: torch.Tensor, norm: nn.LayerNorm, fc1: nn.Linear, spatial: MapDepthwise, fc2: nn.Linear
) -> torch.Tensor:
    """The equation for layers that `fits_depthwise_parts`, (B, H, W, C) -> (B, H, W, C)."""
    kernels, bias = spatial.kernels(), spatial.bias
    values = norm.weight, norm.bias, fc1.weight, fc1.bias, kernels, bias, fc2.weight, fc2.bias
    return _InParts.apply(x, *values, norm.eps, torch.is_grad_enabled() and x.requires_grad)


class _InParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gamma, beta, w1, b1, kernels, bias, w2, b2, eps: float, keep: bool) -> torch.Tensor:
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        kept = []
        for part in parts_of(x, PART):
            h = F.linear(F.layer_norm(x[part], x.shape[3:], gamma, beta, eps), w1, b1)
            a = convolve_map(h, kernels, bias)
            kept += [h, a] if keep else []
            a = F.gelu(a)
            torch.addmm(b2, a.flatten(0, 2), w2.t(), out=out[part].flatten(0, 2))
        if keep:
            ctx.save_for_backward(x, gamma, beta, w1, b1, kernels, bias, w2, b2, *kept)
            ctx.eps = eps
        return out

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        saved = ctx.saved_tensors
        values, kept = list(saved[:9]), saved[9:]
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            return *_again(values, ctx.eps, grad), None, None
        x, gamma, beta, w1, _, kernels, _, w2, _ = values
        below = torch.empty_like(x, memory_format=torch.contiguous_format)
        totals: list[Any] = [None] * 8
        for i, part in enumerate(parts_of(x, PART)):
            h, a = kept[2 * i : 2 * i + 2]
            above = grad[part].contiguous().flatten(0, 2)
            d_w2, d_b2 = above.t() @ F.gelu(a).flatten(0, 2), above.sum(0)
            d_a = torch.ops.aten.gelu_backward((above @ w2).view(a.shape), a)
            d_h, d_kernels, d_bias = convolve_map_grads(h, kernels, d_a)
            d_h = d_h.reshape(-1, h.shape[-1])
            rows = x[part].contiguous().flatten(0, 2)
            y, mean, rstd = torch.native_layer_norm(rows, rows.shape[1:], gamma, beta, ctx.eps)
            d_w1, d_b1 = d_h.t() @ y, d_h.sum(0)
            d_x, d_gamma, d_beta = torch.ops.aten.native_layer_norm_backward(
                d_h @ w1, rows, rows.shape[1:], mean, rstd, gamma, beta, [True] * 3
            )
            below[part] = d_x.view_as(below[part])
            found = d_gamma, d_beta, d_w1, d_b1, d_kernels, d_bias, d_w2, d_b2
            totals = [new if old is None else old.add_(new) for old, new in zip(totals, found, strict=True)]
        return below, *totals, None, None


def _again(values: list[torch.Tensor], eps: float, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Gradients of the equation, as operators that have gradients themselves."""
    x, gamma, beta, w1, b1, kernels, bias, w2, b2 = values
    h = F.linear(F.layer_norm(x, x.shape[-1:], gamma, beta, eps), w1, b1)
    y = F.linear(F.gelu(convolve_map(h, kernels, bias)), w2, b2)
    return torch.autograd.grad(y, values, grad, create_graph=True)
