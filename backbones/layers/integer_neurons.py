"""Neurons that fire whole numbers of spikes at once: the charge rounded, and a gradient as if it were not."""

import torch

from .spiking import LIF

__all__ = ['ILIF', 'NILIF', 'round_through']


def round_through(x: torch.Tensor) -> torch.Tensor:
    """The nearest whole number, halves to the even one; the gradient passes as if nothing were rounded."""
    if torch.compiler.is_exporting() or not (torch.is_grad_enabled() and x.requires_grad):
        return x.round()
    return _Round.apply(x)


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        return x.round()

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> torch.Tensor:
        return grad


class ILIF(LIF):
    """Integer LIF neuron: up to `levels` spikes in a step, each of which lowers the membrane by the threshold.

    H[t] = V[t-1] + (X[t] - V[t-1]) / tau
    S[t] = round(clip(H[t] / threshold, 0, levels));  V[t] = H[t] - S[t] threshold,  no gradient through the reset

    Args:
        num_steps: Time steps T.
        tau: Time constant of the membrane, in steps, more than 1.
        v_threshold: Charge of a spike.
        levels: Spikes in a step at most.

    Source: arXiv 2407.20708; Fancyssc/STEP@c0b3193:cls/models/utils/node.py:ILIFNode
    """

    def __init__(self, num_steps: int = 4, tau: float = 2.0, v_threshold: float = 1.0, levels: int = 2) -> None:
        super().__init__(num_steps, tau, v_threshold, v_reset=None)
        if levels < 1:
            raise ValueError(f'levels, the spikes of a step, must be at least 1, but got {levels}.')
        self.levels = levels

    def spike(self, h: torch.Tensor) -> torch.Tensor:
        return round_through((h / self.v_threshold).clamp(0, self.levels))


class NILIF(ILIF):
    """Normalised integer LIF neuron: the clipped charge is divided by its largest value before it is rounded.

    As `ILIF`, with S[t] = round(clip(H[t] / threshold, 0, levels) / levels), which is 0 or 1.

    Source: Fancyssc/STEP@c0b3193:cls/models/utils/node.py:NILIFNode
    """

    def spike(self, h: torch.Tensor) -> torch.Tensor:
        return round_through((h / self.v_threshold).clamp(0, self.levels) / self.levels)
