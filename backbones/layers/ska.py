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
    # (B, C/G, G, H * W) against (B, 1, G, H * W): weights are shared by broadcasting, four dimensions are enough
    weights = weight.to(accumulator).flatten(3).split(1, dim=2)  # K*K times B G 1 H*W
    terms = (
        padded[:, :, k // kernel : k // kernel + height, k % kernel : k % kernel + width]
        .flatten(2)
        .unflatten(1, (-1, groups))
        * weights[k].flatten(1, 2).unflatten(1, (1, groups))
        for k in range(taps)
    )
    return reduce(torch.add, terms).flatten(1, 2).unflatten(2, (height, width)).to(dtype)


def _chunks(x: torch.Tensor) -> Iterator[slice]:
    """Samples to take at a time: about 256 KiB of the map, so that sums stay in the processor's cache."""
    step = max(1, 65536 // max(1, x[0].numel()))
    for start in range(0, x.shape[0], step):
        yield slice(start, start + step)


class _Rows:
    """The map of a chunk with its rows one after the other and P zeros between them: a tap is one shift of the whole.

    Args:
        weight: Weights (B, G, K*K, H, W).
    """

    def __init__(self, weight: torch.Tensor) -> None:
        self.groups, taps, self.height, width = weight.shape[1:]
        kernel = math.isqrt(taps)
        self.pad = kernel // 2
        self.border = self.pad + 1  # rows of zeros above and below; the one more keeps every shift inside
        self.step = width + self.pad
        self.length = self.height * self.step
        self.shifts = [(1 + kh) * self.step + kw - self.pad for kh in range(kernel) for kw in range(kernel)]

    def lay(self, x: torch.Tensor, border: bool = False) -> torch.Tensor:
        """(N, C, H, W) -> (N, C/G, G, L), with zeros above and below for what taps read if `border`."""
        rows = self.border if border else 0
        return F.pad(x, (0, self.pad, rows, rows)).flatten(2).unflatten(1, (-1, self.groups))

    def tap(self, weight: torch.Tensor, k: int) -> torch.Tensor:
        """Weights (N, G, K*K, H, W) -> those of one tap (N, 1, G, L)."""
        return F.pad(weight[:, :, k], (0, self.pad)).flatten(2)[:, None]

    def shifted(self, laid: torch.Tensor, k: int) -> torch.Tensor:
        """The part (N, C/G, G, L) of a bordered map that a tap reads, as a view."""
        return laid[..., self.shifts[k] : self.shifts[k] + self.length]

    def map(self, laid: torch.Tensor) -> torch.Tensor:
        """(N, ..., G, L) -> (N, ..., H, W), a view: the zeros between rows, and those around if there are, cut off."""
        rows = laid.unflatten(-1, (-1, self.step))
        first = (rows.shape[-2] - self.height) // 2
        return rows[..., first : first + self.height, : self.step - self.pad]


class _InPlace(torch.autograd.Function):
    """The eager form: one output to which each tap is added in place; the gradients likewise.

    Every multiply-add runs over long contiguous memory, however small the map. Autograd of the slices would make a map
    of zeros for each slice; here each gradient is one map.
    """

    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        rows, accumulator = _Rows(weight), _accumulator(x, weight)
        out = torch.empty(x.shape, dtype=torch.promote_types(x.dtype, weight.dtype), device=x.device)
        for part in _chunks(x):
            laid, weights = rows.lay(x[part].to(accumulator), border=True), weight[part].to(accumulator)
            total = laid.new_zeros(*laid.shape[:3], rows.length)
            for k in range(len(rows.shifts)):
                total.addcmul_(rows.shifted(laid, k), rows.tap(weights, k))
            out[part] = rows.map(total).flatten(1, 2)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        x, weight = ctx.saved_tensors
        need_x, need_weight = ctx.needs_input_grad
        return (
            _InPlace.gradient_of_x(grad, x, weight) if need_x else None,
            _InPlace.gradient_of_weight(grad, x, weight) if need_weight else None,
        )

    @staticmethod
    def gradient_of_x(grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        rows, accumulator = _Rows(weight), _accumulator(x, weight)
        result = torch.empty_like(x, memory_format=torch.contiguous_format)
        for part in _chunks(x):
            above, weights = rows.lay(grad[part].to(accumulator)), weight[part].to(accumulator)
            total = above.new_zeros(*above.shape[:3], rows.length + 2 * rows.border * rows.step)
            for k in range(len(rows.shifts)):
                rows.shifted(total, k).addcmul_(above, rows.tap(weights, k))
            result[part] = rows.map(total).flatten(1, 2)
        return result

    @staticmethod
    def gradient_of_weight(grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        rows, accumulator = _Rows(weight), _accumulator(x, weight)
        result = torch.empty_like(weight, memory_format=torch.contiguous_format)
        for part in _chunks(x):
            above, laid = rows.lay(grad[part].to(accumulator)), rows.lay(x[part].to(accumulator), border=True)
            for k in range(len(rows.shifts)):
                result[part, :, k] = rows.map((above * rows.shifted(laid, k)).sum(1))
        return result
