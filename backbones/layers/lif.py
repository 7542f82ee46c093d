"""The plain leaky integrate-and-fire neuron with a gradient written by hand: on a processor, or by Triton on a GPU.

Comparisons write their result as numbers at once: operators on truth values are ten times as slow as those on numbers.
"""

import importlib.util

import torch
from torch.autograd.function import once_differentiable

from .parts import parts_of
from .surrogate import SURROGATES

__all__ = ['has_kernels', 'lif']

KERNELS = ('sigmoid', 'atan')  # surrogates that the Triton kernels know

PART = 2**18  # elements of one step for each thread that are taken at a time: what belongs to them stays in the cache


def lif(x: torch.Tensor, num_steps: int, tau: float, threshold: float, surrogate: str, alpha: float) -> torch.Tensor:
    """All steps of the neuron at once.

    H = V + (X - V) / tau;  S = H >= threshold;  V = (1 - S) H with S detached; V starts at 0.

    Args:
        x: Inputs (T * B, ...) in full precision.
        num_steps: T.
        tau: Time constant of the membrane in steps.
        threshold: Charge at which the neuron fires.
        surrogate: Name of the surrogate gradient.
        alpha: Its sharpness.

    Returns:
        Spikes (T * B, ...).
    """
    if x.is_cuda:
        from .lif_triton import lif_kernels

        return lif_kernels(x, num_steps, tau, threshold, surrogate, alpha)
    if torch.is_grad_enabled() and x.requires_grad:
        return _Lif.apply(x, num_steps, tau, threshold, surrogate, alpha)
    return _forward(x, num_steps, tau, threshold, None)


def has_kernels(x: torch.Tensor, surrogate: str) -> bool:
    """Whether Triton kernels serve for these inputs: on a GPU, for the surrogates of the published families."""
    return x.is_cuda and surrogate in KERNELS and importlib.util.find_spec('triton') is not None


def _by_step(x: torch.Tensor, num_steps: int) -> torch.Tensor:
    """(T * B, ...) -> (T, B * ...), in the order of memory."""
    return x.as_strided((num_steps, x.numel() // num_steps), (x.numel() // num_steps, 1), x.storage_offset())


def _dense(x: torch.Tensor) -> torch.Tensor:
    """`x` with its step slowest in memory and no gaps, a copy if it must be."""
    if x.is_contiguous() or (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)):
        return x
    return x.contiguous()


def _forward(
    x: torch.Tensor, num_steps: int, tau: float, threshold: float, charges: torch.Tensor | None
) -> torch.Tensor:
    x = _dense(x)
    out = torch.empty_like(x)
    inputs, spikes = _by_step(x, num_steps), _by_step(out, num_steps)
    kept = None if charges is None else _by_step(charges, num_steps)
    for part in parts_of(inputs[0], PART):
        v = inputs[0, part] / tau  # the charge of the first step, and then what is left of it
        for t in range(num_steps):
            if t:
                v.lerp_(inputs[t, part], 1 / tau)
            if kept is not None:
                kept[t, part] = v
            s = spikes[t, part]
            torch.ge(v, threshold, out=s)
            if t + 1 < num_steps:
                v.addcmul_(v, s, value=-1)
    return out


class _Lif(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x: torch.Tensor, num_steps: int, tau: float, threshold: float, surrogate: str, alpha: float
    ) -> torch.Tensor:
        x = _dense(x)
        charges = torch.empty_like(x)
        out = _forward(x, num_steps, tau, threshold, charges)
        ctx.save_for_backward(charges)
        ctx.numbers = num_steps, tau, threshold, surrogate, alpha
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (charges,) = ctx.saved_tensors
        num_steps, tau, threshold, surrogate, alpha = ctx.numbers
        grad = grad.contiguous(memory_format=torch.channels_last) if _is_last(charges) else grad.contiguous()
        result = torch.empty_like(charges)
        g, h, out = (_by_step(value, num_steps) for value in (grad, charges, result))
        for part in parts_of(g[0], PART):
            carry = None  # gradient of the membrane behind step t
            for t in reversed(range(num_steps)):
                d = _surrogate(g[t, part], h[t, part], threshold, surrogate, alpha)
                if carry is not None:
                    d += carry
                torch.div(d, tau, out=out[t, part])
                if t:
                    before = h[t - 1, part]
                    kept = torch.lt(before, threshold, out=torch.empty_like(before))  # what was not reset
                    carry = d.mul_(1 - 1 / tau).mul_(kept)
        return result, None, None, None, None, None


def _is_last(x: torch.Tensor) -> bool:
    return x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def _surrogate(g: torch.Tensor, h: torch.Tensor, threshold: float, surrogate: str, alpha: float) -> torch.Tensor:
    """g times the surrogate gradient at h - threshold, in a new tensor."""
    if surrogate != 'sigmoid':
        return g * SURROGATES[surrogate](h - threshold, alpha)
    s = torch.sub(h, threshold).mul_(alpha).sigmoid_()
    return torch.ops.aten.sigmoid_backward(g, s).mul_(alpha)
