"""The operators that `benchmark.py` times, each in its several ways to compute the same."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

AGGREGATION = (64, 8, 3, 56)  # channels, groups, kernel, side of the map
SIDES = (7, 14, 28, 56, 112)  # of the maps that are transformed
CHANNELS = (64, 256)
NUM_STEPS, MAPS = 4, ((96, 56, 56), (384, 14, 14))  # of the neurons

Form = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Operator:
    """One operator on inputs of one size.

    Args:
        name: What the tables call it.
        shapes: Of each input, without the batch.
        forms: Candidate -> function of the inputs.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    forms: dict[str, Form]

    def call(self, candidate: str, batch: int, backward: bool) -> Callable[[], object]:
        """The function to time: forward in inference mode, or forward and the gradient of every input."""
        generator = torch.Generator().manual_seed(0)
        inputs = [torch.randn(batch, *shape, generator=generator) for shape in self.shapes]
        form = self.forms[candidate]
        if not backward:

            def forward() -> torch.Tensor:
                with torch.inference_mode():
                    return form(*inputs)

            return forward
        for value in inputs:
            value.requires_grad_()
        above = torch.randn(form(*inputs).shape, generator=generator)
        return lambda: torch.autograd.grad(form(*inputs), inputs, above)


def aggregate_by_unfold(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Small-kernel aggregation as an unfolded copy of `x` (B, C, H, W) times `weight` (B, G, K*K, H, W), summed."""
    batch, channels, height, width = x.shape
    groups, taps = weight.shape[1:3]
    kernel = math.isqrt(taps)
    columns = nn.functional.unfold(x, kernel, padding=kernel // 2)
    columns = columns.view(batch, channels // groups, groups, taps, height, width)
    return (columns * weight.unsqueeze(1)).sum(3).view(batch, channels, height, width)


def _fourier_and_back(x: torch.Tensor, backend: str) -> torch.Tensor:
    from backbones.layers.spectral import fourier, inverse_fourier

    return inverse_fourier(fourier(x, backend), x.shape[3], backend)  # pyright: ignore[reportArgumentType]


def _cosine_and_back(x: torch.Tensor, backend: str) -> torch.Tensor:
    from backbones.layers.spectral import cosine, inverse_cosine

    return inverse_cosine(cosine(x, backend), backend)  # pyright: ignore[reportArgumentType]


def _aggregation() -> Iterator[Operator]:
    from backbones.layers.ska import small_kernel_aggregation

    channels, groups, kernel, side = AGGREGATION
    shapes = (channels, side, side), (groups, kernel**2, side, side)
    forms: dict[str, Form] = {'ours': small_kernel_aggregation, 'unfold': aggregate_by_unfold}
    yield Operator(f'aggregation of {groups} groups, {kernel}x{kernel}', shapes, forms)


def _transforms() -> Iterator[Operator]:
    for transform, form in (('Fourier', _fourier_and_back), ('cosine', _cosine_and_back)):
        for channels in CHANNELS:
            for side in SIDES:
                forms: dict[str, Form] = {backend: partial(form, backend=backend) for backend in ('matmul', 'fft')}
                yield Operator(f'{transform} transform and back', ((channels, side, side),), forms)


def _neurons() -> Iterator[Operator]:
    from backbones.layers import LIF, Neuron
    from backbones.layers.lif import lif

    neuron = LIF(NUM_STEPS)
    numbers = neuron.num_steps, neuron.tau, neuron.v_threshold, neuron.surrogate, neuron.alpha
    forms: dict[str, Form] = {
        'by_hand': lambda x: lif(x.flatten(0, 1), *numbers),
        'step_by_step': lambda x: Neuron.run(neuron, x.flatten(0, 1)),  # the definition
    }
    for size in MAPS:
        yield Operator('LIF neuron', ((NUM_STEPS, *size),), forms)


def operators(task: str) -> list[Operator]:
    """What there is to time for a task.

    Args:
        task: 'operator' (small-kernel aggregation), 'transform' (spectral transforms) or 'neuron' (LIF, all steps).
    """
    return list({'operator': _aggregation, 'transform': _transforms, 'neuron': _neurons}[task]())
