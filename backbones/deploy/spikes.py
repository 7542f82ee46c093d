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

__all__ = ['Drift', 'drift', 'listening', 'neurons', 'replaced', 'runs']


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


def drift(first: dict[str, np.ndarray], second: dict[str, np.ndarray], output: str, spikes: Sequence[str]) -> Drift:
    """Compare all outputs of two runs on the same pictures.

    Args:
        first: Output -> array, of the run that is the measure.
        second: Likewise, of the other.
        output: Name of the logits (B, classes) or of another output, of which the largest value is the top one.
        spikes: Names of what the neurons give.
    """
    a, b = (run[output].astype(np.float64).reshape(len(run[output]), -1) for run in (first, second))
    total = sum(first[name].size for name in spikes)
    return Drift(
        pictures=len(a),
        top1=float((a.argmax(1) == b.argmax(1)).mean()),
        error=float(np.abs(a - b).max() / max(np.abs(a).max(), np.finfo(np.float32).tiny)),
        spikes=sum(int((first[name] != second[name]).sum()) for name in spikes) / max(total, 1),
        rate=sum(int(np.count_nonzero(first[name])) for name in spikes) / max(total, 1),
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
    expected = [{name: value.numpy() for name, value in reference(x).items() if name in names} for x in images]
    found = {}
    runtimes: dict[str, Any] = {'onnxruntime': _onnxruntime, 'openvino': _openvino}
    for runtime, run in runtimes.items():
        if importlib.util.find_spec(runtime) is not None:
            given = run(model, names, images)
            found[runtime] = drift(_joined(expected), _joined(given), output, spikes)
    return found


def _joined(batches: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _onnxruntime(model: bytes, names: Sequence[str], images: Sequence[torch.Tensor]) -> list[dict[str, Any]]:
    from .verify import session

    run = session(model)
    return [dict(zip(names, run.run(list(names), {'input': x.numpy()}), strict=True)) for x in images]


def _openvino(model: bytes, names: Sequence[str], images: Sequence[torch.Tensor]) -> list[dict[str, Any]]:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model), 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    return [{name: compiled({'input': x.numpy()})[name] for name in names} for x in images]
