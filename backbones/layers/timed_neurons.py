"""Neurons with learned weights for each time step, which run that number of steps alone."""

import math
from typing import Any

import torch
from torch import nn

from .precision import widened
from .spiking import Neuron
from .surrogate import fire

__all__ = ['GLIF', 'PSN']


class _Timed(Neuron):
    """Base of neurons whose weights have a place for each time step."""

    def set_num_steps(self, num_steps: int) -> None:
        """Check that the weights are made for that many steps.

        Raises:
            ValueError: They are not.
        """
        if num_steps != self.num_steps:
            raise ValueError(
                f'{type(self).__name__} has weights for each of its {self.num_steps} time steps and cannot run '
                f'{num_steps}: make the model with num_steps={num_steps} and train it.'
            )

    def extra_repr(self) -> str:
        return f'num_steps={self.num_steps}'


class PSN(_Timed):
    """Parallel spiking neuron: the charge of a step is a learned sum of the inputs of all steps, with no reset.

    H = W X + b over the axis of time;  S[t] = 1 where H[t] >= 0, else 0

    Args:
        num_steps: Time steps T.

    Source: arXiv 2304.12760
    """

    def __init__(self, num_steps: int = 4, **dd: Any) -> None:
        super().__init__(num_steps, 0.0, 'sigmoid', 2.0)
        bound = num_steps**-0.5
        self.weight = nn.Parameter(torch.empty(num_steps, num_steps, **dd).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.full((num_steps,), -1.0, **dd))  # minus the threshold

    def run(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = widened(self.weight), widened(self.bias)
        h = torch.addmm(bias[:, None], weight, x.reshape(self.num_steps, -1))
        return self.spike(h).reshape(x.shape)


class GLIF(_Timed):
    """Gated LIF neuron: gates choose between two ways to leak, to take the input and to be reset.

    H[t] = (1 - a (1 - tau_t)) V[t-1] (1 - c S[t-1]) - (1 - a) leak_t + (1 - b (1 - conduct_t)) X[t]
           - (1 - c) decrement_t S[t-1]
    S[t] = 1 where H[t] > threshold_t, else 0;  V[t] = H[t],  from V[0] = S[0] = 0, with gradients through the reset

    The gates a, b, c are 1 where their logits are positive, else 0, so that they do not train; what has an index t is
    the sigmoid of a learned number of each step. The threshold itself does not fire.

    Args:
        num_steps: Time steps T.
        gates: Numbers that the logits of a, b and c are made of as in the published code; those above one half close
            their gate.
        tau, threshold, conduct: Values before training; decrement starts at the threshold, leak at threshold / (2 T).

    Source: arXiv 2210.13768; Fancyssc/STEP@c0b3193:cls/models/utils/node.py:GLIFTorch
    """

    leak_gate: torch.Tensor
    input_gate: torch.Tensor
    reset_gate: torch.Tensor

    def __init__(
        self,
        num_steps: int = 4,
        gates: tuple[float, float, float] = (0.6, 0.8, 0.6),
        tau: float = 0.25,
        threshold: float = 0.5,
        conduct: float = 0.5,
        **dd: Any,
    ) -> None:
        super().__init__(num_steps, threshold, 'rectangle', 1.0)
        if len(gates) != 3 or not all(0 < value < 1 for value in (*gates, tau, threshold, conduct)):
            raise ValueError(
                'GLIF needs three gates, and they, tau, threshold and conduct between 0 and 1, but got '
                f'gates={gates}, tau={tau}, threshold={threshold} and conduct={conduct}.'
            )
        for name, share in zip(('leak_gate', 'input_gate', 'reset_gate'), gates, strict=True):
            logit = torch.tensor(-_logit((share + 0.5) / 2), **dd)
            self.register_parameter(name, nn.Parameter(logit, requires_grad=False))
        self.tau, self.threshold, self.leak, self.conduct, self.decrement = (
            nn.Parameter(torch.full((num_steps,), _logit(value), **dd))
            for value in (tau, threshold, threshold / (2 * num_steps), conduct, threshold)
        )

    def steps(self, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        a, b, c = ((gate > 0).to(inputs[0].dtype) for gate in (self.leak_gate, self.input_gate, self.reset_gate))
        tau, threshold, leak, conduct, decrement = (
            widened(p).sigmoid() for p in (self.tau, self.threshold, self.leak, self.conduct, self.decrement)
        )
        kept, lost, taken = 1 - a * (1 - tau), (1 - a) * leak, 1 - b * (1 - conduct)
        v = s = torch.zeros_like(inputs[0])
        spikes = []
        for t, x in enumerate(inputs):
            v = kept[t] * v * (1 - c * s) - lost[t] + x * taken[t] - (1 - c) * decrement[t] * s
            s = 1 - fire(threshold[t] - v, self.surrogate, self.alpha)
            spikes.append(s)
        return spikes


def _logit(p: float) -> float:
    return -math.log(1 / p - 1)
