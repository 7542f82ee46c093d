"""Surrogate gradients: what stands in for the derivative of a step, which is 0 almost everywhere.

A neuron fires where its charge reaches the threshold: s = step(u), u = H - threshold, 1 from u = 0 on. The backward
pass takes g(u) for the derivative, a bump around 0 that `alpha` makes narrower.
"""

import math
from collections.abc import Callable

import torch

__all__ = ['SURROGATES', 'fire', 'surrogate_gradient']


def _sigmoid(u: torch.Tensor, alpha: float) -> torch.Tensor:
    s = torch.sigmoid(alpha * u)
    return alpha * s * (1 - s)


def _atan(u: torch.Tensor, alpha: float) -> torch.Tensor:
    return alpha / 2 / (1 + (math.pi / 2 * alpha * u) ** 2)


def _triangle(u: torch.Tensor, alpha: float) -> torch.Tensor:
    return (alpha - alpha**2 * u.abs()).clamp(min=0)


def _rectangle(u: torch.Tensor, alpha: float) -> torch.Tensor:
    return alpha * (u.abs() <= 0.5 / alpha).to(u.dtype)


def _gaussian(u: torch.Tensor, alpha: float) -> torch.Tensor:
    return alpha / math.sqrt(math.pi) * torch.exp(-((alpha * u) ** 2))


def _exponential(u: torch.Tensor, alpha: float) -> torch.Tensor:
    return alpha / 2 * torch.exp(-alpha * u.abs())


def _softsign(u: torch.Tensor, alpha: float) -> torch.Tensor:
    return alpha / 2 / (1 + alpha * u.abs()) ** 2


# name -> g(u, alpha); each has the area 1
SURROGATES: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    'sigmoid': _sigmoid,
    'atan': _atan,
    'triangle': _triangle,
    'rectangle': _rectangle,
    'gaussian': _gaussian,
    'exponential': _exponential,
    'softsign': _softsign,
}


def surrogate_gradient(name: str) -> Callable[[torch.Tensor, float], torch.Tensor]:
    """g(u, alpha) of a name.

    Raises:
        ValueError: There is no surrogate of that name.
    """
    if name not in SURROGATES:
        raise ValueError(f'A surrogate must be one of {", ".join(SURROGATES)}, but got {name!r}.')
    return SURROGATES[name]


def fire(u: torch.Tensor, surrogate: str = 'sigmoid', alpha: float = 4.0) -> torch.Tensor:
    """1 where u >= 0, else 0, in the type of `u`; its gradient is that of the surrogate.

    Args:
        u: Charge above the threshold, any shape.
        surrogate: Name in `SURROGATES`.
        alpha: Sharpness of the surrogate.
    """
    if torch.compiler.is_exporting() or not (torch.is_grad_enabled() and u.requires_grad):
        return (u >= 0).to(u.dtype)
    return _Fire.apply(u, surrogate, alpha)


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u: torch.Tensor, surrogate: str, alpha: float) -> torch.Tensor:
        ctx.save_for_backward(u)
        ctx.surrogate, ctx.alpha = surrogate, alpha
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (u,) = ctx.saved_tensors
        return grad * SURROGATES[ctx.surrogate](u, ctx.alpha), None, None
