"""Small-kernel aggregation: every position of a map is summed with its own K x K weights.

    out[b, c, y, x] = sum_k w[b, c mod G, k, y, x] * x[b, c, y + kh - P, x + kw - P],  k = K kh + kw,  P = (K - 1) / 2

with zeros outside the map. Channels that are G apart share their weights.

Paper: LSNet: See Large, Focus Small, arXiv 2503.23135, section 3.2, equation 8.
Source: jameslahm/lsnet@cbe737c:model/ska.py (what it computes; its code runs on NVIDIA GPUs alone).

One meaning, three ways to run it: in place with a gradient of its own (eager), as pads and slices that `torch.compile`,
`torch.export` and every ONNX runtime understand, and as Triton kernels on a GPU. None of them makes the copy of the
input, K * K times its size, that an `unfold` would.
"""

import importlib.util
import math
from collections.abc import Iterator
from functools import lru_cache, reduce

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

__all__ = ['small_kernel_aggregation']


def small_kernel_aggregation(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Sum each K x K neighbourhood of `x` with the weights of its own position.

    Half precision is accumulated in float32. The way it runs is chosen by device and by whether torch is compiling.

    Args:
        x: Map (B, C, H, W).
        weight: Weights (B, G, K*K, H, W); C is a multiple of G and K is odd.

    Returns:
        Map (B, C, H, W) in the type that `x * weight` would have.

    Raises:
        ValueError: The two shapes do not fit.
    """
    if torch.compiler.is_compiling():
        return _by_slices(x, weight)
    _check(x, weight)
    if x.is_cuda and _has_triton(x.device):
        from .ska_triton import aggregate

        return aggregate(x, weight)
    return _InPlace.apply(x, weight)


def _check(x: torch.Tensor, weight: torch.Tensor) -> None:
    fits = (
        x.ndim == 4
        and weight.ndim == 5
        and x.shape[0] == weight.shape[0]
        and x.shape[2:] == weight.shape[3:]
        and x.shape[1] % weight.shape[1] == 0
        and math.isqrt(weight.shape[2]) ** 2 == weight.shape[2]
        and weight.shape[2] % 2 == 1
    )
    if not fits:
        raise ValueError(
            'small_kernel_aggregation needs x (B, C, H, W) and weight (B, G, K*K, H, W), C a multiple of G, K odd, '
            f'but got x {tuple(x.shape)} and weight {tuple(weight.shape)}: give both the same batch and map size.'
        )


@lru_cache
def _has_triton(device: torch.device) -> bool:
    """Whether Triton is installed and knows this GPU (NVIDIA's from Volta on; it has its own say on AMD's)."""
    known = torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (7, 0)
    return known and importlib.util.find_spec('triton') is not None


def _accumulator(x: torch.Tensor, weight: torch.Tensor) -> torch.dtype:
    """Type that sums run in: at least float32."""
    return torch.promote_types(torch.promote_types(x.dtype, weight.dtype), torch.float32)


def _by_slices(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The definition in operators that keep their inputs: one pad, then K*K slices that are multiplied and added."""
    groups, taps = weight.shape[1:3]
    kernel = math.isqrt(taps)
    height, width = x.shape[2:]
    dtype, accumulator = torch.promote_types(x.dtype, weight.dtype), _accumulator(x, weight)
    padded = F.pad(x.to(accumulator), (kernel // 2,) * 4)
    # channels that share weights are repeated in the weights, so that every tensor keeps four dimensions
    weight, repeats = weight.to(accumulator), x.shape[1] // groups
    terms = (
        padded[:, :, k // kernel : k // kernel + height, k % kernel : k % kernel + width]
        * weight[:, :, k].repeat(1, repeats, 1, 1)
        for k in range(taps)
    )
    return reduce(torch.add, terms).to(dtype)


def _geometry(weight: torch.Tensor) -> tuple[int, int, list[int]]:
    """(G, P, where each tap starts in the bordered rows) of weights (B, G, K*K, H, W)."""
    groups, taps, _, width = weight.shape[1:]
    kernel = math.isqrt(taps)
    pad = kernel // 2
    return groups, pad, [kh * (width + pad) + kw for kh in range(kernel) for kw in range(kernel)]


def _chunks(x: torch.Tensor) -> Iterator[slice]:
    """Samples to take at a time: about 256 KiB of the map, so that sums stay in the processor's cache."""
    step = max(1, 65536 // max(1, x[0].numel()))
    for start in range(0, x.shape[0], step):
        yield slice(start, start + step)


def _rows(x: torch.Tensor, groups: int, pad: int) -> torch.Tensor:
    """(N, C, H, W) -> (N, C/G, G, H * (W + pad)): rows one after the other, zeros between them."""
    return F.pad(x, (0, pad)).reshape(x.shape[0], -1, groups, x.shape[2] * (x.shape[3] + pad))


def _bordered(rows: torch.Tensor, width: int, pad: int) -> torch.Tensor:
    """`rows` with zeros for what taps read above, below and beside: tap (kh, kw) starts at kh * (width + pad) + kw."""
    border = pad * (width + pad) + pad
    return F.pad(rows, (border, border))


class _InPlace(torch.autograd.Function):
    """The eager form: one output to which each tap is added in place; the gradients likewise.

    Rows lie one after the other with P zeros between them, so a tap is one shift along a single axis and every
    multiply-add runs over long contiguous memory, however small the map. Autograd of the slices would make a map of
    zeros for each slice; here each gradient is one map.
    """

    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        height, width = x.shape[2:]
        groups, pad, offsets = _geometry(weight)
        accumulator = _accumulator(x, weight)
        out = torch.empty(x.shape, dtype=torch.promote_types(x.dtype, weight.dtype), device=x.device)
        for part in _chunks(x):
            padded = _bordered(_rows(x[part].to(accumulator), groups, pad), width, pad)
            weights = F.pad(weight[part].to(accumulator), (0, pad)).flatten(3)[:, None]  # N 1 G KK L
            length = weights.shape[-1]
            total = padded.new_zeros(*padded.shape[:3], length)
            for k, start in enumerate(offsets):
                total.addcmul_(padded[..., start : start + length], weights[:, :, :, k])
            out[part] = total.reshape(-1, x.shape[1], height, width + pad)[..., :width]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        x, weight = ctx.saved_tensors
        height, width = x.shape[2:]
        groups, pad, offsets = _geometry(weight)
        accumulator = _accumulator(x, weight)
        grad_x, grad_weight = (
            torch.empty_like(t, memory_format=torch.contiguous_format) if needed else None
            for t, needed in zip((x, weight), ctx.needs_input_grad, strict=True)
        )
        for part in _chunks(x):
            above = _rows(grad[part].to(accumulator), groups, pad)
            length = above.shape[-1]
            if grad_x is not None:
                weights = F.pad(weight[part].to(accumulator), (0, pad)).flatten(3)[:, None]  # N 1 G KK L
                total = torch.zeros_like(_bordered(above, width, pad))
                for k, start in enumerate(offsets):
                    total[..., start : start + length].addcmul_(above, weights[:, :, :, k])
                inner = total[..., offsets[len(offsets) // 2] :][..., :length]
                grad_x[part] = inner.reshape(-1, x.shape[1], height, width + pad)[..., :width]
            if grad_weight is not None:
                padded = _bordered(_rows(x[part].to(accumulator), groups, pad), width, pad)
                for k, start in enumerate(offsets):
                    tap = (above * padded[..., start : start + length]).sum(1)  # N G L
                    grad_weight[part, :, k] = tap.unflatten(-1, (height, width + pad))[..., :width]
        return grad_x, grad_weight
