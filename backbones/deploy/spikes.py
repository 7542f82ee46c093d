"""Spiking networks beside the files made from them.

Rounding may move a charge across its threshold, and one moved spike moves others behind it, so that a file that is
right can give other spikes than its model. What is compared is therefore each layer by itself: the model runs with the
spikes of the file in place of its own, which makes all else agree to rounding, and its own are counted against them.
How far file and model drift apart when each follows its own spikes is measured, and judges nothing.
"""

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..layers import Neuron

__all__ = ['Drift', 'Tally', 'listening', 'neurons', 'replaced', 'runs']


@dataclass(frozen=True)
class Drift:
    """How far two runs of a network on the same pictures drift apart, each with its own spikes.

    Attributes:
        pictures: Pictures that were compared.
        top1: Share of pictures with the same largest output.
        error: Largest difference of an output, relative to the largest output.
        spikes: Share of neuron outputs that differ, over all layers and steps.
        rate: Share of neuron outputs that are not 0, in the first run.
    """

    pictures: int
    top1: float
    error: float
    spikes: float
    rate: float


def neurons(network: nn.Module) -> list[Neuron]:
    """All spiking neurons of a network."""
    return [module for module in network.modules() if isinstance(module, Neuron)]


@contextlib.contextmanager
def listening(network: nn.Module) -> Iterator[list[torch.Tensor]]:
    """A list that fills with what neurons give, in the order of their calls."""
    found: list[torch.Tensor] = []

    def note(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        found.append(output)

    handles = [neuron.register_forward_hook(note) for neuron in neurons(network)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def replaced(network: nn.Module, given: Sequence[torch.Tensor]) -> Iterator[list[int]]:
    """Neurons give what is given, in the order of their calls, and a list fills with how much of it they would not."""
    rest, differing = iter(given), []

    def put(module: nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        value = next(rest)
        differing.append(int((value != output).sum()))
        return value

    handles = [neuron.register_forward_hook(put) for neuron in neurons(network)]
    try:
        yield differing
    finally:
        for handle in handles:
            handle.remove()


Run = dict[str, Any]  # arrays that a network gives for a batch, by name


class Tally:
    """Compares all outputs of two runs on the same pictures, batch by batch, so that no batch need be kept.

    Args:
        output: Name of the logits (B, classes) or of another output, of which the largest value is the top one.
        spikes: Names of what the neurons give.
    """

    def __init__(self, output: str, spikes: Sequence[str]) -> None:
        self._output, self._spikes = output, spikes
        self._pictures = self._same = self._neurons = self._differing = self._firing = 0
        self._error = self._largest = 0.0

    def add(self, first: Run, second: Run) -> None:
        """A batch, as the run that is the measure gave it and as the other did."""
        a, b = (run[self._output].astype(np.float64).reshape(len(run[self._output]), -1) for run in (first, second))
        self._pictures += len(a)
        self._same += int((a.argmax(1) == b.argmax(1)).sum())
        self._error = float(np.maximum(self._error, np.abs(a - b).max()))  # which keeps a NaN
        self._largest = float(np.maximum(self._largest, np.abs(a).max()))
        for name in self._spikes:
            self._neurons += first[name].size
            self._differing += int((first[name] != second[name]).sum())
            self._firing += int(np.count_nonzero(first[name]))

    def result(self) -> Drift:
        """Of all batches."""
        return Drift(
            pictures=self._pictures,
            top1=self._same / self._pictures,
            error=self._error / max(self._largest, float(np.finfo(np.float32).tiny)),
            spikes=self._differing / max(self._neurons, 1),
            rate=self._firing / max(self._neurons, 1),
        )


@torch.no_grad()
def runs(
    model: bytes,
    reference: Callable[[torch.Tensor], dict[str, torch.Tensor]],
    output: str,
    spikes: Sequence[str],
    images: Sequence[torch.Tensor],
) -> dict[str, Drift]:
    """How far an ONNX model drifts from what it was made from, in every runtime that is installed.

    Args:
        model: ONNX model whose outputs include the spikes.
        reference: What it was made from: an input -> every output by its name.
        output: Output whose largest value is compared.
        spikes: Names of what the neurons give.
        images: Batches.
    """
    names = [output, *spikes]
    loaders = {'onnxruntime': _onnxruntime, 'openvino': _openvino}
    loaded = {name: load(model, names) for name, load in loaders.items() if importlib.util.find_spec(name) is not None}
    tallies = {name: Tally(output, spikes) for name in loaded}
    for x in images:
        values = reference(x)
        expected = {name: values[name].numpy() for name in names}
        for name, run in loaded.items():
            tallies[name].add(expected, run(x.numpy()))
    return {name: tally.result() for name, tally in tallies.items()}


def _onnxruntime(model: bytes, names: Sequence[str]) -> Callable[[np.ndarray], Run]:
    from .verify import session

    run = session(model).run
    return lambda x: dict(zip(names, run(list(names), {'input': x}), strict=True))


def _openvino(model: bytes, names: Sequence[str]) -> Callable[[np.ndarray], Run]:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model), 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})

    def run(x: np.ndarray) -> Run:
        given = compiled({'input': x})
        return {name: given[name] for name in names}

    return run
