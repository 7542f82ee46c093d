"""Small-kernel aggregation as Triton kernels, forward and backward; `small_kernel_aggregation` takes them on a GPU.

    out[b, c, y, x] = sum_k w[b, c mod G, k, y, x] * x[b, c, y + kh - P, x + kw - P],   k = K * kh + kw,  P = (K-1) / 2

with zeros outside the map, and, for a gradient d[b, c, y, x] of `out`, its gradients

    grad_x[b, c, y, x]    = sum_k w[b, c mod G, k, y', x'] * d[b, c, y', x'],   y' = y - kh + P,  x' = x - kw + P
    grad_w[b, g, k, y, x] = sum over c = g, g + G, g + 2G, ... of d[b, c, y, x] * x[b, c, y + kh - P, x + kw - P]

Paper: LSNet: See Large, Focus Small, arXiv 2503.23135, section 3.2, equation 8. There a group is any C/G channels; in
the published code and weights its channels are G apart.
Source: THU-MIG/lsnet@cbe737c:model/ska.py (what it computes). Its kernels for `out` and grad_x have a thread per
element and load all K*K weights again for each of the C/G channels that share them. Here a lane owns a pixel and works
on up to 8 of these channels together, so that a weight is loaded once for them.

The operator is bound by memory: 2 K*K operations for each element read and written. Hence
- lanes of a warp own consecutive pixels of the flattened map: every load is coalesced, whatever the map's width;
- sums stay in registers, in float32 (float64 if an input is), and are rounded once, when they are stored;
- nothing is added atomically, so results repeat bit by bit.

The three operators are of `torch.library.triton_op`: torch.compile sees the kernels themselves, torch.export keeps each
operator as one node, and the gradient of each is made of the other two, so that second derivatives exist too.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch.library import triton_op
from triton.runtime.jit import JITFunction

from .launch import device_of

__all__ = ['aggregate']

_MAX_ROWS = 8  # channels that share one load of a weight; 16 need 200 registers a lane
_MAX_BLOCK = 128  # pixels of a program, one for each lane of four warps
_MAX_PIXELS = 2**30  # offsets inside a plane are 32 bits wide, offsets of planes 64


def aggregate(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """Small-kernel aggregation on a GPU.

    No input is cast, under autocast neither: each is read in its own type and the result has the type of `x * w`.
    Gradients have the types of their inputs. Inputs that are not contiguous are copied.

    Args:
        x: Map (B, C, H, W).
        w: Weights (B, G, K*K, H, W); C is a multiple of G and K is odd (`small_kernel_aggregation` checks it).

    Returns:
        Map (B, C, H, W), contiguous.

    Raises:
        ValueError: The map has 2**30 pixels or more.
    """
    if x.shape[2] * x.shape[3] >= _MAX_PIXELS:
        raise ValueError(
            'The Triton form of small_kernel_aggregation takes maps of fewer than 2**30 pixels, '
            f'but got {tuple(x.shape)}: cut the map into tiles.'
        )
    return _aggregate(x.contiguous(), w.contiguous())


# One compiled kernel for all sizes of maps: variants for sizes that 16 divides would gain nothing, see `_plane_size`.
_jit = triton.jit(do_not_specialize=['channels', 'groups', 'height', 'width'])


@triton.jit
def _plane_size(height, width):
    """height * width, such that the compiler cannot tell what divides it.

    Where it knows that rows are aligned, it gives four neighbouring pixels to a lane. That serves the stores, but makes
    each shifted load, and there are K*K times as many, touch four times the cache lines, and moves the weights through
    shared memory.
    """
    return (2 * height * width + 1) // 2


@_jit
def _gather_kernel(
    x_ptr,
    w_ptr,
    out_ptr,
    channels,
    groups,
    height,
    width,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    DOUBLE: tl.constexpr,
):
    """out (B, C, H, W): the aggregation of x, or its transpose (taps reversed, weights taken where the tap lies).

    A program has BLOCK pixels of ROWS channels of one group. Neighbouring programs have the same pixels and the group's
    next channels, so that their weights are still in the cache.
    """
    size = _plane_size(height, width)
    chunks = tl.cdiv(channels // groups, ROWS)
    tiles = tl.cdiv(size, BLOCK)
    pid = tl.program_id(0)
    plane = pid // chunks // tiles  # b * G + g
    pixel = pid // chunks % tiles * BLOCK + tl.arange(0, BLOCK)
    row = pid % chunks * ROWS + tl.arange(0, ROWS)
    py = pixel // width
    px = pixel - py * width
    inside = pixel < size
    channel = (plane // groups).to(tl.int64) * channels + plane % groups + row * groups
    here = (channel * size)[:, None] + pixel[None, :]
    present = (row < channels // groups)[:, None]
    weights = w_ptr + plane.to(tl.int64) * (K * K) * size + pixel

    dtype: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    total = tl.zeros([ROWS, BLOCK], dtype)
    for k in tl.static_range(K * K):
        dy = K // 2 - k // K if TRANSPOSED else k // K - K // 2
        dx = K // 2 - k % K if TRANSPOSED else k % K - K // 2
        shift = dy * width + dx
        near = inside & (py + dy >= 0) & (py + dy < height) & (px + dx >= 0) & (px + dx < width)
        if TRANSPOSED:
            weight = tl.load(weights + shift, mask=near, other=0).to(dtype)
        else:
            weight = tl.load(weights, mask=inside, other=0).to(dtype)
        value = tl.load(x_ptr + here + shift, mask=present & near[None, :], other=0).to(dtype)
        total += weight[None, :] * value
        weights += size
    tl.store(out_ptr + here, total.to(out_ptr.dtype.element_ty), mask=present & inside[None, :])


@_jit
def _correlate_kernel(
    grad_ptr,
    x_ptr,
    out_ptr,
    channels,
    groups,
    height,
    width,
    K: tl.constexpr,
    TAPS: tl.constexpr,
    BLOCK: tl.constexpr,
    DOUBLE: tl.constexpr,
):
    """out (B, G, K*K, H, W): the gradient of the weights.

    A program has BLOCK pixels of one group and keeps the sums of all taps (K*K, filled up to TAPS, a power of two)
    while it walks along the channels, so that each gradient is loaded once.
    """
    size = _plane_size(height, width)
    tiles = tl.cdiv(size, BLOCK)
    pid = tl.program_id(0)
    plane = pid // tiles  # b * G + g
    pixel = pid % tiles * BLOCK + tl.arange(0, BLOCK)
    py = pixel // width
    px = pixel - py * width
    inside = pixel < size
    tap = tl.arange(0, TAPS)
    dy = (tap // K - K // 2)[:, None]
    dx = (tap % K - K // 2)[:, None]
    wanted = (tap < K * K)[:, None] & inside[None, :]
    near = wanted & (py + dy >= 0) & (py + dy < height) & (px + dx >= 0) & (px + dx < width)
    there = pixel[None, :] + (dy * width + dx)
    first = (plane // groups).to(tl.int64) * channels + plane % groups

    dtype: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    total = tl.zeros([TAPS, BLOCK], dtype)
    for row in range(channels // groups):
        start = (first + row * groups) * size
        grad = tl.load(grad_ptr + start + pixel, mask=inside, other=0).to(dtype)
        value = tl.load(x_ptr + start + there, mask=near, other=0).to(dtype)
        total += grad[None, :] * value
    start = (plane.to(tl.int64) * (K * K) + tap) * size
    tl.store(out_ptr + start[:, None] + pixel[None, :], total.to(out_ptr.dtype.element_ty), mask=wanted)


if isinstance(_gather_kernel, JITFunction):
    from torch.library import wrap_triton
else:

    def wrap_triton(triton_kernel: Callable, /) -> Any:
        """As it is: torch refuses to wrap the kernels of Triton's interpreter (TRITON_INTERPRET=1), though they run."""
        return triton_kernel


def _block(height: int, width: int) -> tuple[int, int]:
    """(pixels of a program, warps): one pixel a lane, and few idle lanes on small maps."""
    pixels = height * width
    block = 32 if pixels <= 32 else 64 if pixels <= 64 else _MAX_BLOCK
    return block, block // 32


def _gather(kernel: Any, x: torch.Tensor, w: torch.Tensor, out: torch.Tensor, transposed: bool) -> torch.Tensor:
    batch, channels, height, width = x.shape
    groups, taps = w.shape[1:3]
    block, warps = _block(height, width)
    rows = min(_MAX_ROWS, triton.next_power_of_2(channels // groups))
    programs = batch * groups * triton.cdiv(height * width, block) * triton.cdiv(channels // groups, rows)
    with device_of(x):
        kernel[(programs,)](
            *(x, w, out, channels, groups, height, width),
            K=math.isqrt(taps),
            ROWS=rows,
            BLOCK=block,
            TRANSPOSED=transposed,
            DOUBLE=torch.float64 in (x.dtype, w.dtype, out.dtype),
            num_warps=warps,
        )
    return out


@triton_op('backbones::small_kernel_aggregation', mutates_args=())
def _aggregate(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W), (B, G, K*K, H, W) -> (B, C, H, W), in the promoted type."""
    x, w = x.contiguous(), w.contiguous()
    out = torch.empty_like(x, dtype=torch.promote_types(x.dtype, w.dtype))
    return _gather(wrap_triton(_gather_kernel), x, w, out, transposed=False)


@triton_op('backbones::small_kernel_aggregation_grad_x', mutates_args=())
def _grad_x(grad: torch.Tensor, w: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(B, C, H, W), (B, G, K*K, H, W) -> (B, C, H, W), in `dtype`."""
    grad, w = grad.contiguous(), w.contiguous()
    out = torch.empty_like(grad, dtype=dtype)
    return _gather(wrap_triton(_gather_kernel), grad, w, out, transposed=True)


@triton_op('backbones::small_kernel_aggregation_grad_w', mutates_args=())
def _grad_w(grad: torch.Tensor, x: torch.Tensor, groups: int, taps: int, dtype: torch.dtype) -> torch.Tensor:
    """Two (B, C, H, W) -> (B, G, K*K, H, W), in `dtype`."""
    grad, x = grad.contiguous(), x.contiguous()
    batch, channels, height, width = x.shape
    out = x.new_empty((batch, groups, taps, height, width), dtype=dtype)
    block, warps = _block(height, width)
    with device_of(x):
        wrap_triton(_correlate_kernel)[(batch * groups * triton.cdiv(height * width, block),)](
            *(grad, x, out, channels, groups, height, width),
            K=math.isqrt(taps),
            TAPS=triton.next_power_of_2(taps),
            BLOCK=block,
            DOUBLE=torch.float64 in (grad.dtype, x.dtype, dtype),
            num_warps=warps,
        )
    return out


# Shapes for tracing. triton_op would run the bodies above on fake tensors, which traces a kernel launch just to learn a
# shape, ties an export to the branches of `_block` and does not work with the interpreter.
@_aggregate.register_fake
def _(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return x.new_empty(x.shape, dtype=torch.promote_types(x.dtype, w.dtype))


@_grad_x.register_fake
def _(grad: torch.Tensor, w: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return grad.new_empty(grad.shape, dtype=dtype)


@_grad_w.register_fake
def _(grad: torch.Tensor, x: torch.Tensor, groups: int, taps: int, dtype: torch.dtype) -> torch.Tensor:
    return x.new_empty((x.shape[0], groups, taps, *x.shape[2:]), dtype=dtype)


# One trilinear form, sum(d * aggregate(x, w)), is behind all three: each operator is its derivative by one argument, so
# the gradients of each are the other two with that argument replaced by the incoming gradient.
def _save_tensors(ctx, inputs: tuple, output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _aggregate_backward(ctx, d: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    x, w = ctx.saved_tensors
    need_x, need_w = ctx.needs_input_grad
    d = d.contiguous()  # once for both; the gradient of a sum is expanded
    return (
        _grad_x(d, w, x.dtype) if need_x else None,
        _grad_w(d, x, w.shape[1], w.shape[2], w.dtype) if need_w else None,
    )


def _grad_x_backward(ctx, x: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
    d, w = ctx.saved_tensors
    need_d, need_w = ctx.needs_input_grad[:2]
    return (
        _aggregate(x, w) if need_d else None,
        _grad_w(d, x, w.shape[1], w.shape[2], w.dtype) if need_w else None,
        None,
    )


def _grad_w_backward(ctx, w: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None, None]:
    d, x = ctx.saved_tensors
    need_d, need_x = ctx.needs_input_grad[:2]
    return _aggregate(x, w) if need_d else None, _grad_x(d, w, x.dtype) if need_x else None, None, None, None


_aggregate.register_autograd(_aggregate_backward, setup_context=_save_tensors)
_grad_x.register_autograd(_grad_x_backward, setup_context=_save_tensors)
_grad_w.register_autograd(_grad_w_backward, setup_context=_save_tensors)
