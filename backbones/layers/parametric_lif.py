"""Leaky integrate-and-fire neuron that learns how fast its membrane forgets."""

import math
from typing import Any

import torch
from torch import nn

from .spiking import Neuron

__all__ = ['ParametricLIF']


class ParametricLIF(Neuron):
    """LIF neuron with one learnable time constant, a decayed input and a hard reset to 0 that passes no gradient.

    H[t] = V[t-1] + (X[t] - V[t-1]) sigmoid(w);  S[t] = [H >= threshold];  V[t] = (1 - S[t]) H[t]

    Args:
        num_steps: Time steps T.
        tau: First value of 1 / sigmoid(w), the time constant in steps, more than 1.
        v_threshold: Charge at which the neuron fires.
        surrogate: Name of the surrogate gradient.
        alpha: Its sharpness.

    Raises:
        ValueError: tau is not more than 1, or an argument of `Neuron` cannot be.

    Source: fangwei123456/spikingjelly@0.0.0.0.14:activation_based/neuron.py:ParametricLIFNode
    """

    def __init__(
        self,
        num_steps: int = 4,
        tau: float = 2.0,
        v_threshold: float = 1.0,
        surrogate: str = 'sigmoid',
        alpha: float = 4.0,
        **dd: Any,
    ) -> None:
        super().__init__(num_steps, v_threshold, surrogate, alpha)
        if not tau > 1:
            raise ValueError(f'tau must be more than 1 step, but got {tau}: a neuron that forgets nothing is an IF.')
        self.w = nn.Parameter(torch.full((), -math.log(tau - 1), **dd))

    def charge(self, v: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return v + (x - v) * torch.sigmoid(self.w.to(x.dtype))

    def reset(self, h: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return h - s.detach() * h
