"""Linear maps on a processor by oneDNN, which torch takes for convolutions and leaves aside for matrices.

The matrix library that torch takes instead reads a large weight at half of the speed where there are few rows, and is a
tenth slower where there are many.
"""

import torch
import torch.nn.functional as F

from .parts import may_run_in_parts

__all__ = ['linear', 'product', 'weight_gradient']


def product(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, gelu: bool = False
) -> torch.Tensor:
    """x W^T + b, or GELU of it; without gradients.

    Args:
        x: (N, in).
        weight: (out, in).
        bias: (out,).
        gelu: Whether a GELU follows, in the same pass.

    Returns:
        (N, out).
    """
    single = len(x) == 1 and not weight.is_contiguous()  # one row times a transposed weight: there it is slower
    if x.dtype == torch.float32 and x.device.type == 'cpu' and not single and _has_onednn():
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, 'gelu' if gelu else 'none', [], 'none')
    y = F.linear(x, weight, bias)
    return F.gelu(y) if gelu else y


def weight_gradient(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Gradient of W in x W^T, for the gradient (N, out) of the result and x (N, in): (out, in)."""
    if len(x) > 1 and grad.shape[1] < x.shape[1]:
        return product(grad.t(), x.t())
    return _outer(grad, x)


def _outer(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """grad^T x; a product of single rows, which writes each value once, is faster value by value."""
    return grad.t() * x if len(x) == 1 else grad.t() @ x


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """x W^T + b.

    Args:
        x: (N, in).
        weight: (out, in).
        bias: (out,).

    Returns:
        (N, out).
    """
    if may_run_in_parts(x.detach(), weight.detach(), bias.detach()):  # its gradients serve for any of them
        return _Linear.apply(x, weight, bias)
    return F.linear(x, weight, bias)


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, '_linear_pointwise')


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            return grad @ weight, grad.t() @ x, grad.sum(0)
        d_x = product(grad, weight.t()) if ctx.needs_input_grad[0] else None
        # oneDNN would be faster for the weight too, but copies `grad` at the peak of a training's memory
        return d_x, _outer(grad, x), grad.sum(0)
