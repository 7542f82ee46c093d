"""Leaky integrate-and-fire neurons with more in them: a learned time constant or gain, an exponential, a memory.

STEP (arXiv 2505.11151) compares them in one network; see `neuron_maker`.
"""

import math
from typing import Any

import torch
from torch import nn

from .precision import widened
from .spiking import LIF, Neuron, check_tau

__all__ = ['CLIF', 'EIF', 'KLIF', 'PLIF']


class PLIF(LIF):
    """LIF neuron that learns its time constant: 1 / tau = sigmoid(w).

    Args:
        num_steps: Time steps T.
        tau: Time constant before training, in steps, more than 1.
        v_threshold, v_reset, decay_input, detach_reset, surrogate, alpha: As `LIF`.

    Source: arXiv 2007.05785
    """

    def __init__(
        self,
        num_steps: int = 4,
        tau: float = 2.0,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        decay_input: bool = True,
        detach_reset: bool = True,
        surrogate: str = 'sigmoid',
        alpha: float = 4.0,
        **dd: Any,
    ) -> None:
        super().__init__(num_steps, tau, v_threshold, v_reset, decay_input, detach_reset, surrogate, alpha)
        self.w = nn.Parameter(torch.tensor(-math.log(tau - 1), **dd))

    def leak(self, v: torch.Tensor) -> torch.Tensor:
        return v * widened(self.w).sigmoid()


class KLIF(LIF):
    """LIF neuron whose charge is scaled by what it learns, and never negative.

    H[t] = relu(k (V[t-1] + (X[t] - V[t-1]) / tau)), fired and reset as `LIF`.

    Args:
        num_steps: Time steps T.
        tau: Time constant of the membrane, in steps, more than 1.
        v_threshold: Charge at which the neuron fires.

    Source: arXiv 2302.09238
    """

    def __init__(self, num_steps: int = 4, tau: float = 2.0, v_threshold: float = 1.0, **dd: Any) -> None:
        super().__init__(num_steps, tau, v_threshold)
        self.k = nn.Parameter(torch.tensor(1.0, **dd))

    def charge(self, v: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(widened(self.k) * super().charge(v, x))


class EIF(LIF):
    """LIF neuron whose membrane pulls itself up: exponential integrate-and-fire.

    H[t] = V[t-1] + (X[t] - V[t-1] + delta exp((V[t-1] - theta) / delta)) / tau
    S[t] = 1 where H[t] >= threshold, else 0;  V[t] = (1 - S[t]) H[t] + S[t] V_reset;  V[0] = V_reset

    Args:
        num_steps: Time steps T.
        tau: Time constant of the membrane, in steps, more than 1.
        v_threshold: Charge at which the neuron fires.
        v_reset: Membrane after a spike and before the first step.
        delta: Sharpness of the exponential, more than 0.
        theta: Membrane at which the exponential takes over.

    Raises:
        ValueError: delta is not more than 0, or an argument of `LIF` cannot be.

    Source: Fancyssc/STEP@c0b3193:cls/models/utils/node.py:EIFNode
    """

    def __init__(
        self,
        num_steps: int = 4,
        tau: float = 2.0,
        v_threshold: float = 1.0,
        v_reset: float = -0.1,
        delta: float = 1.0,
        theta: float = 0.8,
    ) -> None:
        super().__init__(num_steps, tau, v_threshold, v_reset)
        if not delta > 0:
            raise ValueError(f'delta, the sharpness of the exponential, must be more than 0, but got {delta}.')
        self.delta, self.theta = delta, theta

    def charge(self, v: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return v + self.leak(x - v + self.delta * torch.exp((v - self.theta) / self.delta))


class CLIF(Neuron):
    """Complementary LIF neuron: a second membrane remembers spikes and makes the reset deeper.

    H[t] = (1 - 1 / tau) V[t-1] + X[t]
    S[t] = 1 where H[t] >= threshold, else 0
    M[t] = M[t-1] sigmoid(H[t] / tau) + S[t]
    V[t] = H[t] - S[t] (threshold + sigmoid(M[t])),  from V[0] = M[0] = 0, with gradients through the reset

    Args:
        num_steps: Time steps T.
        tau: Time constant of both membranes, in steps, more than 1.
        v_threshold: Charge at which the neuron fires.

    Source: arXiv 2402.04663
    """

    def __init__(self, num_steps: int = 4, tau: float = 2.0, v_threshold: float = 1.0) -> None:
        super().__init__(num_steps, v_threshold, 'rectangle', 1.0)
        self.tau = check_tau(tau)

    def steps(self, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        v = memory = torch.zeros_like(inputs[0])
        spikes = []
        for x in inputs:
            h = v * (1 - 1 / self.tau) + x
            s = self.spike(h)
            memory = memory * torch.sigmoid(h / self.tau) + s
            v = h - s * self.v_threshold - s * torch.sigmoid(memory)
            spikes.append(s)
        return spikes
