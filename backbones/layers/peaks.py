"""Products of two projections of a map, with those of each position's strongest channel added to all.

    f = w t + (w t)[argmax_c x_c];  t = GELU(W_t x + b_t);  w = W_p x + b_p;  y = k * (f z) + b

where [c] takes channel c of the position, z are complex factors of neighbouring channels, which may be left out, and
k * is a convolution of groups of channels with zeros around the map.

Paper: SpaRTAN, arXiv 2507.10999 (the channel mixer).
Source: henry-pay/SpaRTAN@1715a43:src/model/spartan.py:CMixer

One meaning, two ways to run it: operator by operator, which compilers and exporters see, and on a processor for a few
images at a time. There nothing between x and y is kept for the backward pass, unless all images go at once: each of
the maps in between is several times as wide as x, and making it anew costs less than fetching memory for it.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .onednn import product, weight_gradient
from .pairs import pair_product
from .parts import may_run_in_parts, parts_of
from .thin_conv import map_of, rows_of, thin_conv, thin_conv_back

__all__ = ['peak_gate']

PART = 2**19  # elements of the projections that each thread takes at a time
WIDTH = 4  # channels of a group: up to so many depthwise convolutions are faster than one of groups

Values = tuple[torch.Tensor | None, ...]


def peak_gate(
    x: torch.Tensor,
    theta: nn.Conv2d,
    proj: nn.Conv2d,
    factors: torch.Tensor | None,
    kernels: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """The equation above.

    Args:
        x: Map (B, C, H, W).
        theta: Holds W_t (D, C, 1, 1) and b_t (D).
        proj: Holds W_p (D, C, 1, 1) and b_p (D); the first C of the D channels are those that may be the strongest.
        factors: z, (D / 2, 2), or None.
        kernels: k, (D, E, K, K) with K odd, for D / E groups.
        bias: b, (D), or None.

    Returns:
        Map (B, D, H, W).
    """
    values = x, theta.weight, theta.bias, proj.weight, proj.bias, factors, kernels, bias
    if kernels.shape[1] <= WIDTH and may_run_in_parts(*(value for value in values if value is not None)):
        return _InParts.apply(*values)
    return _whole(*values)


def _whole(x, w_t, b_t, w_p, b_p, factors, kernels, bias) -> torch.Tensor:
    peak = x.argmax(1, keepdim=True)  # B 1 H W
    t, w = F.gelu(F.conv2d(x, w_t, b_t)), F.conv2d(x, w_p, b_p)
    f = w * t + w.gather(1, peak) * t.gather(1, peak)
    f = f if factors is None else pair_product(f, factors)
    groups = kernels.shape[0] // kernels.shape[1]
    return F.conv2d(f, kernels, bias, padding=kernels.shape[-1] // 2, groups=groups)


class _InParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, *weights) -> torch.Tensor:
        projections, (factors, kernels, bias) = weights[:4], weights[4:]
        parts, out, kept = list(_parts(x, len(kernels))), [], ()
        for part in parts:
            kept = _project(rows_of(x[part]), *projections)
            out.append(thin_conv(_join(kept, factors), kernels, bias, x.shape[2:]))
        alone = len(parts) == 1 and any(ctx.needs_input_grad)
        ctx.save_for_backward(x, *weights, *(kept if alone else ()))
        return torch.cat(out) if len(out) > 1 else out[0]

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> Values:
        saved, kept = ctx.saved_tensors[:8], ctx.saved_tensors[8:]
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            return _again(saved, grad)
        x, projections, (factors, kernels, bias) = saved[0], saved[1:5], saved[5:]
        below = torch.empty_like(x, memory_format=torch.channels_last)
        totals: list = [None] * 6
        for part in _parts(x, len(kernels)):
            rows, above = rows_of(x[part]), grad[part].contiguous(memory_format=torch.channels_last)
            inner = kept or _project(rows, *projections)
            d_f, d_kernels = thin_conv_back(_join(inner, factors), kernels, above)
            d_x, found = _join_back(rows, inner, d_f, projections[0], projections[2], factors)
            below[part] = map_of(d_x, below.shape[2:])
            found += [d_kernels]
            totals = [new if old is None else old.add_(new) for old, new in zip(totals, found, strict=True)]
        return below, *totals, None if bias is None else grad.sum((0, 2, 3))


def _parts(x: torch.Tensor, width: int):
    return parts_of(x, PART * x.shape[1] // width)


def _project(x, w_t, b_t, w_p, b_p) -> tuple[torch.Tensor, ...]:
    """Strongest channels (N, 1), and W_t x + b_t, t and w (N, D) of rows (N, C)."""
    peak = x.max(1, keepdim=True).indices  # the first of equals, as argmax, and faster
    a, w = product(x, w_t.flatten(1), b_t), product(x, w_p.flatten(1), b_p)
    return peak, a, F.gelu(a), w


def _join(inner, factors) -> torch.Tensor:
    """f z of rows, for what `_project` gives."""
    peak, _, t, w = inner
    f = torch.addcmul(w.gather(1, peak).mul_(t.gather(1, peak)), w, t)
    if factors is not None:
        _complex(f).mul_(torch.view_as_complex(factors))
    return f


def _join_back(x, inner, d_f, w_t, w_p, factors) -> tuple[torch.Tensor, list]:
    """Gradients by rows x and by what projects and turns them, for that of f z, which is overwritten."""
    peak, a, t, w = inner
    d_factors = None
    if factors is not None:
        d_z = _complex(d_f)
        d_factors = torch.view_as_real(_complex(_join(inner, None)).conj().mul(d_z).sum(0))
        d_z.mul_(torch.view_as_complex(factors).conj())
    d_peak = d_f.sum(1, keepdim=True)
    d_w = (d_f * t).scatter_add_(1, peak, d_peak * t.gather(1, peak))
    d_a = d_f.mul_(w).scatter_add_(1, peak, d_peak * w.gather(1, peak))
    d_a = torch.ops.aten.gelu_backward(d_a, a)
    d_x = product(d_a, w_t.flatten(1).t()).add_(product(d_w, w_p.flatten(1).t()))
    by_t, by_p = (weight_gradient(d, x).view(w_t.shape) for d in (d_a, d_w))
    return d_x, [by_t, d_a.sum(0), by_p, d_w.sum(0), d_factors]


def _complex(rows: torch.Tensor) -> torch.Tensor:
    return torch.view_as_complex(rows.view(len(rows), -1, 2))


def _again(saved: Values, grad: torch.Tensor) -> Values:
    """Gradients of the equation, as operators that have gradients themselves."""
    present = [value for value in saved if value is not None]
    found = iter(torch.autograd.grad(_whole(*saved), present, grad, create_graph=True))
    return tuple(None if value is None else next(found) for value in saved)
