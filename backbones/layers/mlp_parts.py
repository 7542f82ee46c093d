"""Normalisation, linear layer, GELU, linear layer, for a part of the positions at a time.

    y = W_2 GELU(W_1 LN(x) + b_1) + b_2

On a processor a large hidden layer, four times as wide as the map, goes through memory several times; a part of it
stays in the cache. For the backward pass it is kept as it enters the GELU; what the norm and the GELU gave is made
again, so that training needs about half the memory.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .parts import may_run_in_parts

__all__ = ['fits_parts', 'mlp_in_parts']

ROWS = 1024  # positions that each thread takes at a time


def fits_parts(x: torch.Tensor, norm: Any, fc1: Any, act: Any, fc2: Any) -> bool:
    """Whether `mlp_in_parts` computes what the layers would, one after the other, and is no slower.

    That takes a map of many positions and plain layers that nobody watches.
    """
    layers = (norm, fc1, act, fc2)
    if not may_run_in_parts(x, *_values(norm, fc1, fc2)) or x.numel() < 2 * _step() * x.shape[-1]:
        return False
    if tuple(map(type, layers)) != (nn.LayerNorm, nn.Linear, nn.GELU, nn.Linear) or act.approximate != 'none':
        return False
    watched = any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks for m in layers
    )
    return fc1.bias is not None and fc2.bias is not None and not watched


def mlp_in_parts(x: torch.Tensor, norm: nn.LayerNorm, fc1: nn.Linear, fc2: nn.Linear) -> torch.Tensor:
    """The equation for layers that `fits_parts`, (..., C) -> (..., C)."""
    return _InParts.apply(x, *_values(norm, fc1, fc2), norm.eps, torch.is_grad_enabled() and x.requires_grad)


def _values(norm: nn.LayerNorm, fc1: nn.Linear, fc2: nn.Linear) -> tuple[torch.Tensor | None, ...]:
    return norm.weight, norm.bias, fc1.weight, fc1.bias, fc2.weight, fc2.bias


def _step() -> int:
    return ROWS * torch.get_num_threads()


class _InParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gamma, beta, w1, b1, w2, b2, eps: float, keep: bool) -> torch.Tensor:
        rows, step = x.reshape(-1, x.shape[-1]), _step()
        out = torch.empty_like(rows)
        hidden = rows.new_empty(len(rows) if keep else step, len(w1))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            y = F.layer_norm(rows[part], rows.shape[1:], gamma, beta, eps)
            h = hidden[part] if keep else hidden[: len(y)]
            torch.addmm(b1, y, w1.t(), out=h)
            torch.addmm(b2, F.gelu(h), w2.t(), out=out[part])
        if keep:
            ctx.save_for_backward(x, gamma, beta, w1, b1, w2, b2, hidden)
            ctx.eps, ctx.step = eps, step
        return out.view(x.shape)

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *values, hidden = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            return *_again(values, ctx.eps, grad), None, None
        x, gamma, beta, w1, _, w2, _ = values
        rows, above = x.reshape(-1, x.shape[-1]), grad.reshape(-1, x.shape[-1])
        below = torch.empty_like(rows)
        d_gamma, d_beta, d_w1, d_b1, d_w2, d_b2 = (torch.zeros_like(value) for value in values[1:])
        for start in range(0, len(rows), ctx.step):
            part = slice(start, start + ctx.step)
            y, mean, rstd = torch.native_layer_norm(rows[part], rows.shape[1:], gamma, beta, ctx.eps)
            d_w2.addmm_(above[part].t(), F.gelu(hidden[part]))
            d_b2 += above[part].sum(0)
            d_h = torch.ops.aten.gelu_backward(above[part] @ w2, hidden[part])
            d_w1.addmm_(d_h.t(), y)
            d_b1 += d_h.sum(0)
            below[part], g, b = torch.ops.aten.native_layer_norm_backward(
                d_h @ w1, rows[part], rows.shape[1:], mean, rstd, gamma, beta, [True] * 3
            )
            d_gamma += g
            d_beta += b
        return below.view(x.shape), d_gamma, d_beta, d_w1, d_b1, d_w2, d_b2, None, None


def _again(values: list[torch.Tensor], eps: float, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Gradients of the equation, as operators that have gradients themselves."""
    x, gamma, beta, w1, b1, w2, b2 = values
    y = F.layer_norm(x, x.shape[-1:], gamma, beta, eps)
    y = F.linear(F.gelu(F.linear(y, w1, b1)), w2, b2)
    return torch.autograd.grad(y, values, grad, create_graph=True)
