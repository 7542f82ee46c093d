"""Neurons by name, as a constructor's option `neuron` has them, and neurons of their own for groups of channels."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .integer_neurons import ILIF, NILIF
from .neurons import CLIF, EIF, KLIF, PLIF
from .spiking import IF, LIF, Neuron, check_steps
from .timed_neurons import GLIF, PSN

__all__ = ['NEURONS', 'GroupedNeuron', 'grouped', 'neuron_maker']

# name -> neuron of T steps and a threshold; the published CLIF fires at 1 everywhere, GLIF learns its threshold and PSN
# has one in its bias
NEURONS: dict[str, Callable[[int, float, dict[str, Any]], Neuron]] = {
    'lif': lambda steps, threshold, dd: LIF(steps, v_threshold=threshold),
    'if': lambda steps, threshold, dd: IF(steps, threshold, surrogate='atan', alpha=2.0, strict=True),
    'plif': lambda steps, threshold, dd: PLIF(steps, v_threshold=threshold, **dd),
    'klif': lambda steps, threshold, dd: KLIF(steps, v_threshold=threshold, **dd),
    'clif': lambda steps, threshold, dd: CLIF(steps),
    'glif': lambda steps, threshold, dd: GLIF(steps, **dd),
    'psn': lambda steps, threshold, dd: PSN(steps, **dd),
    'eif': lambda steps, threshold, dd: EIF(steps, v_threshold=threshold),
    'ilif': lambda steps, threshold, dd: ILIF(steps, v_threshold=threshold),
    'nilif': lambda steps, threshold, dd: NILIF(steps, v_threshold=threshold),
}


def neuron_maker(name: str, num_steps: int, **dd: Any) -> Callable[..., Any]:
    """What makes the neurons of a network, with the settings by which STEP compares them.

    Args:
        name: A name in `NEURONS`, or 'relu' for the same network with ReLU in place of spikes.
        num_steps: Time steps T.
        **dd: Device and type of learned parameters.

    Returns:
        Function of `v_threshold`, 1 by default, which 'clif', 'glif' and 'psn' leave aside as the published code does.

    Raises:
        ValueError: There is no neuron of that name, or T is not a whole number of at least 1.
    """
    if name not in (*NEURONS, 'relu'):
        raise ValueError(f'neuron must be one of {", ".join(NEURONS)} or relu, but got {name!r}.')
    check_steps(num_steps)

    def make(v_threshold: float = 1.0) -> nn.Module:
        return nn.ReLU() if name == 'relu' else NEURONS[name](num_steps, v_threshold, dd)

    return make


class GroupedNeuron(nn.ModuleList):
    """Neurons that each see an equal share of the channels, in their order, with learned parameters of their own.

    Shape:
        (T * B, C, ...) -> (T * B, C, ...)
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shares = x.chunk(len(self), 1)
        return torch.cat([neuron(share) for neuron, share in zip(self, shares, strict=True)], 1)


def grouped(neuron: Callable[..., Neuron], groups: int) -> nn.Module:
    """Neurons for maps stacked along the channels: one for all of them where nothing is learned, else one for each.

    Args:
        neuron: Makes a neuron.
        groups: Maps in the stack.
    """
    first = neuron()
    if not list(first.parameters()):
        return first
    return GroupedNeuron([first, *(neuron() for _ in range(groups - 1))])
