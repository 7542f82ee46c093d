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

from .onednn import product, weight_gradient
from .parts import is_watched, may_run_in_parts

__all__ = ['fits_parts', 'mlp_in_parts']

ROWS = 1024  # positions that each thread takes at a time


def fits_parts(x: torch.Tensor, norm: Any, fc1: Any, act: Any, fc2: Any) -> bool:
    """Whether `mlp_in_parts` computes what the layers would, one after the other, and is no slower.

    That takes plain layers that nobody watches.
    """
    layers = (norm, fc1, act, fc2)
    if not may_run_in_parts(x, *_values(norm, fc1, fc2)):
        return False
    if tuple(map(type, layers)) != (nn.LayerNorm, nn.Linear, nn.GELU, nn.Linear) or act.approximate != 'none':
        return False
    return fc1.bias is not None and fc2.bias is not None and not any(map(is_watched, layers))


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
        hidden, out = [], []
        for part in rows.split(step):
            y = F.layer_norm(part, part.shape[1:], gamma, beta, eps)
            h = product(y, w1, b1, gelu=not keep)
            if keep:
                hidden.append(h)
                h = F.gelu(h)
            out.append(product(h, w2, b2))
        if keep:
            ctx.save_for_backward(x, gamma, beta, w1, b1, w2, b2, *hidden)
            ctx.eps, ctx.step = eps, step
        return (torch.cat(out) if len(out) > 1 else out[0]).view(x.shape)

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        saved = ctx.saved_tensors
        values, hidden = list(saved[:7]), saved[7:]
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            return *_again(values, ctx.eps, grad), None, None
        x, gamma, beta, w1, _, w2, _ = values
        rows, above = x.reshape(-1, x.shape[-1]), grad.reshape(-1, x.shape[-1])
        below = torch.empty_like(rows)
        totals: list[Any] = [None] * 6
        for i, (part, top, h) in enumerate(zip(rows.split(ctx.step), above.split(ctx.step), hidden, strict=True)):
            y, mean, rstd = torch.native_layer_norm(part, part.shape[1:], gamma, beta, ctx.eps)
            d_w2, d_b2 = weight_gradient(top, F.gelu(h)), top.sum(0)
            d_h = torch.ops.aten.gelu_backward(product(top, w2.t()), h)
            d_w1, d_b1 = weight_gradient(d_h, y), d_h.sum(0)
            d_x, d_gamma, d_beta = torch.ops.aten.native_layer_norm_backward(
                product(d_h, w1.t()), part, part.shape[1:], mean, rstd, gamma, beta, [True] * 3
            )
            below[i * ctx.step : i * ctx.step + len(part)] = d_x
            found = d_gamma, d_beta, d_w1, d_b1, d_w2, d_b2
            totals = [new if old is None else old.add_(new) for old, new in zip(totals, found, strict=True)]
        return below.view(x.shape), *totals, None, None


def _again(values: list[torch.Tensor], eps: float, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Gradients of the equation, as operators that have gradients themselves."""
    x, gamma, beta, w1, b1, w2, b2 = values
    y = F.layer_norm(x, x.shape[-1:], gamma, beta, eps)
    y = F.linear(F.gelu(F.linear(y, w1, b1)), w2, b2)
    return torch.autograd.grad(y, values, grad, create_graph=True)
