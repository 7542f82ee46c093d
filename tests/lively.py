"""Spiking networks that fire: with PyTorch's own initialisation nearly nothing does, and tests of zeros say nothing."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from backbones.layers import Neuron


@torch.no_grad()
def lively(model: nn.Module) -> nn.Module:
    """`model` in float64 and eval mode, with random norms that let its neurons fire."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            for value, low, high in (
                (module.weight, 1.5, 4.0),
                (module.bias, 0.0, 1.0),
                (module.running_mean, -0.1, 0.1),
                (module.running_var, 0.5, 1.5),
            ):
                value.uniform_(low, high, generator=generator)
    return model.double().eval()


@torch.no_grad()
def rates(model: nn.Module, x: torch.Tensor) -> list[float]:
    """Share of the inputs at which each neuron fires, in the order of the network."""
    found: list[float] = []
    hooks = [
        module.register_forward_hook(lambda _, __, y: found.append(float(y.mean())))
        for module in model.modules()
        if isinstance(module, Neuron)
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return found


def lif(x: torch.Tensor, steps: int, threshold: float = 1.0) -> torch.Tensor:
    """The neuron of these networks, step by step: H = (V + X) / 2, spike at the threshold, reset to 0."""
    v, spikes = torch.zeros_like(x[: len(x) // steps]), []
    for part in x.chunk(steps):
        h = (v + part) / 2
        spikes.append((h >= threshold).to(x.dtype))
        v = torch.where(h >= threshold, 0.0, h)
    return torch.cat(spikes)
