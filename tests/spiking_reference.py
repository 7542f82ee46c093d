"""Spiking networks written out naively, for tests of families: slow, in float64, and of no shared code."""

import torch
from torch import nn

from backbones.layers import Neuron


@torch.no_grad()
def lively(model: nn.Module, bias: float = 0.3) -> nn.Module:
    """`model` in float64 and evaluation mode with weights that make a fair share of its neurons fire.

    Normalisations have the statistics of random pictures, so that charges are alike at every depth; `bias` is the mean
    of what they add.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 1, 2)
        nn.init.uniform_(norm.bias, bias - 0.3, bias + 0.3)
        norm.momentum = 1.0
    model.double().train()
    if hasattr(model, 'input_shape'):  # a network, no layer alone
        model(torch.randn(model.input_shape(4, (40, 48)), dtype=torch.double))
    for norm in norms:
        norm.momentum = 0.1
    return model.eval()


def check_rates(model: nn.Module, x: torch.Tensor) -> None:
    """Every layer of neurons fires, and none always."""
    rates: dict[str, float] = {}

    def listen(name: str):
        return lambda module, inputs, output: rates.update({name: float((output != 0).double().mean())})

    handles = [
        module.register_forward_hook(listen(name))
        for name, module in model.named_modules()
        if isinstance(module, Neuron)
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    assert rates
    assert all(0.02 <= rate <= 0.98 for rate in rates.values()), rates


def spikes(x: torch.Tensor, num_steps: int, threshold: float = 1.0) -> torch.Tensor:
    """Leaky neurons that lose half of their charge at each step and are reset to 0: (T * B, ...) -> (T * B, ...)."""
    fired, v = [], torch.zeros_like(x[: len(x) // num_steps])
    for inputs in x.reshape(num_steps, -1, *x.shape[1:]):
        v = v / 2 + inputs / 2
        s = (v >= threshold).to(x.dtype)
        v = torch.where(s > 0, torch.zeros_like(v), v)
        fired.append(s)
    return torch.cat(fired)


def conv(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Convolution, one shifted product for each place of the kernel, and normalisation by the running statistics."""
    weight, side, stride = module.conv.weight, module.conv.kernel_size[0], module.conv.stride[0]
    height, width = x.shape[2:]
    padded = x.new_zeros(*x.shape[:2], height + side - 1, width + side - 1)
    padded[:, :, side // 2 : side // 2 + height, side // 2 : side // 2 + width] = x
    y = sum(
        torch.einsum('bchw,dc->bdhw', padded[:, :, i : i + height : stride, j : j + width : stride], weight[:, :, i, j])
        for i in range(side)
        for j in range(side)
    )
    if module.conv.bias is not None:
        y = y + module.conv.bias[:, None, None]
    mean, var, gamma, beta = (
        value[:, None, None]
        for value in (module.norm.running_mean, module.norm.running_var, module.norm.weight, module.norm.bias)
    )
    return (y - mean) / (var + 1e-5).sqrt() * gamma + beta


def pool(x: torch.Tensor) -> torch.Tensor:
    """Largest value among the neighbours of every second position, those outside of the map left out."""
    rows = [x[:, :, max(i - 1, 0) : i + 2].amax(2) for i in range(0, x.shape[2], 2)]
    y = torch.stack(rows, 2)
    return torch.stack([y[..., max(j - 1, 0) : j + 2].amax(3) for j in range(0, y.shape[3], 2)], 3)


def attention(module: nn.Module, x: torch.Tensor, num_steps: int) -> torch.Tensor:
    """Self-attention of spikes, head by head and token by token, without the neurons around it."""
    height, width = x.shape[2:]
    maps = spikes(conv(module.qkv, x), num_steps)
    q, k, v = (part.flatten(2).transpose(1, 2) for part in maps.chunk(3, 1))  # TB N C
    heads = [
        (a @ b.transpose(1, 2)) @ c * 0.125
        for a, b, c in zip(*(part.chunk(module.num_heads, 2) for part in (q, k, v)), strict=True)
    ]
    y = torch.cat(heads, 2).transpose(1, 2).unflatten(2, (height, width))
    return conv(module.proj, spikes(y, num_steps, 0.5))


def mlp(module: nn.Module, x: torch.Tensor, num_steps: int) -> torch.Tensor:
    """Channel mixer, its neurons in front of its convolutions or behind them."""
    if module.first:
        return conv(module.fc2, spikes(conv(module.fc1, spikes(x, num_steps)), num_steps))
    return spikes(conv(module.fc2, spikes(conv(module.fc1, x), num_steps)), num_steps)


def over_time(x: torch.Tensor, num_steps: int) -> torch.Tensor:
    """(T * B, ...) -> (B, ...), averaged."""
    return sum(x.chunk(num_steps)) / num_steps
