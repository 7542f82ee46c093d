"""The plain leaky integrate-and-fire neuron as Triton kernels, forward and backward, all time steps in one of each.

A lane owns a neuron: it reads the input of a step, keeps the membrane in a register, and writes the spike. Where a
gradient is wanted the charge is written too, which is all that the backward kernel needs beside the gradient. So each
value is read and written once, where step by step the membrane would pass through memory.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from .launch import device_of

__all__ = ['lif_kernels']

_BLOCK = 1024  # neurons of a program


@triton.jit(do_not_specialize=['size'])  # 1 would come as a constant of Python
def _forward_kernel(
    x_ptr, spikes_ptr, charges_ptr, size, tau, threshold, T: tl.constexpr, KEEP: tl.constexpr, BLOCK: tl.constexpr
):
    """Spikes, and with KEEP charges, (T, size) from inputs (T, size)."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    v = tl.zeros([BLOCK], x_ptr.dtype.element_ty)
    for t in tl.static_range(T):
        here = place + t * size.to(tl.int64)
        h = v + (tl.load(x_ptr + here, mask=inside, other=0.0) - v) / tau
        fires = h >= threshold
        tl.store(spikes_ptr + here, fires.to(x_ptr.dtype.element_ty), mask=inside)
        if KEEP:
            tl.store(charges_ptr + here, h, mask=inside)
        v = tl.where(fires, 0.0, h)


@triton.jit(do_not_specialize=['size'])  # 1 would come as a constant of Python
def _backward_kernel(
    grad_ptr,
    charges_ptr,
    out_ptr,
    size,
    tau,
    threshold,
    alpha,
    T: tl.constexpr,
    ATAN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gradient of the inputs (T, size) from that of the spikes and the charges."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    carry = tl.zeros([BLOCK], grad_ptr.dtype.element_ty)  # gradient of the membrane behind the step
    for i in tl.static_range(T):
        here = place + (T - 1 - i) * size.to(tl.int64)
        h = tl.load(charges_ptr + here, mask=inside, other=0.0)
        u = (h - threshold) * alpha
        if ATAN:
            slope = alpha / 2 / (1 + 2.4674011002723395 * u * u)  # (pi / 2)^2
        else:
            s = 1 / (1 + tl.exp(-u))
            slope = alpha * s * (1 - s)
        d = tl.load(grad_ptr + here, mask=inside, other=0.0) * slope + tl.where(h >= threshold, 0.0, carry)
        tl.store(out_ptr + here, d / tau, mask=inside)
        carry = d * (1 - 1 / tau)


def lif_kernels(
    x: torch.Tensor, num_steps: int, tau: float, threshold: float, surrogate: str, alpha: float
) -> torch.Tensor:
    """All steps of a neuron; see `lif`, whose arguments these are. The surrogate is 'sigmoid' or 'atan'."""
    if torch.is_grad_enabled() and x.requires_grad:
        return _Kernels.apply(x, num_steps, tau, threshold, surrogate, alpha)
    return _run(x.contiguous(), num_steps, tau, threshold, None)


def _run(x: torch.Tensor, num_steps: int, tau: float, threshold: float, charges: torch.Tensor | None) -> torch.Tensor:
    spikes = torch.empty_like(x)
    size = x.numel() // num_steps
    keep = charges is not None
    kernel: Any = _forward_kernel
    with device_of(x):
        kernel[(triton.cdiv(size, _BLOCK),)](
            x, spikes, charges if keep else spikes, size, tau, threshold, T=num_steps, KEEP=keep, BLOCK=_BLOCK
        )
    return spikes


class _Kernels(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x: torch.Tensor, num_steps: int, tau: float, threshold: float, surrogate: str, alpha: float
    ) -> torch.Tensor:
        x = x.contiguous()
        charges = torch.empty_like(x)
        spikes = _run(x, num_steps, tau, threshold, charges)
        ctx.save_for_backward(charges)
        ctx.numbers = num_steps, tau, threshold, surrogate, alpha
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (charges,) = ctx.saved_tensors
        num_steps, tau, threshold, surrogate, alpha = ctx.numbers
        out = torch.empty_like(charges)
        size = charges.numel() // num_steps
        kernel: Any = _backward_kernel
        with device_of(charges):
            kernel[(triton.cdiv(size, _BLOCK),)](
                *(grad.contiguous(), charges, out, size, tau, threshold, alpha),
                T=num_steps,
                ATAN=surrogate == 'atan',
                BLOCK=_BLOCK,
            )
        return out, None, None, None, None, None
