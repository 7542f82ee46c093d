"""Run the graph of an ONNX file node by node, and see what rounding to float16 does to each by itself."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from .precision import Graph, cosine
from .verify import session

__all__ = ['Measured', 'Runner', 'measure', 'step_outputs', 'steps']


@dataclass
class Measured:
    """One node on all samples.

    Attributes:
        largest: Largest value that it takes from another node or gives.
        cosine: Lowest cosine similarity of what it gives in float16 to what it gives in float32.
        cosine_inputs: The same of what it gives in float32 from inputs in float16.
    """

    largest: float = 0.0
    cosine: float = 1.0
    cosine_inputs: float = 1.0

    def note(self, taken: list[np.ndarray], exact: list[np.ndarray], rounded: list[np.ndarray]) -> None:
        """Take in one run: what other nodes give it, and what it gives from exact and from rounded inputs."""
        for x in (*taken, *exact):
            if x.dtype == np.float32 and x.size:
                self.largest = max(self.largest, float(np.abs(x[np.isfinite(x)]).max(initial=0)))
        with np.errstate(invalid='ignore', over='ignore'):
            for a, b in zip(exact, rounded, strict=True):
                if a.dtype == np.float32 and a.size:
                    self.cosine_inputs = float(np.minimum(self.cosine_inputs, cosine(a, b)))  # NaN stays
                    self.cosine = float(np.minimum(self.cosine, cosine(a, _rounded(b))))


class Runner:
    """Single nodes in ONNX Runtime; those that differ in names alone share a session.

    Args:
        graph: The file.
    """

    def __init__(self, graph: Graph) -> None:
        self._opsets, self._version = graph.proto.opset_import, graph.proto.ir_version
        self._sessions: dict[bytes, Any] = {}

    def __call__(self, node: onnx.NodeProto, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Outputs of a node; inputs and outputs without those that it leaves out."""
        given = [name for name in node.input if name]
        names = {name: f'i{i}' for i, name in enumerate(dict.fromkeys(given))}
        feeds = {names[name]: value for name, value in zip(given, inputs, strict=True)}
        alone = onnx.NodeProto()
        alone.CopyFrom(node)
        alone.name = ''
        alone.input[:] = [names.get(name, '') for name in node.input]
        alone.output[:] = [f'o{i}' if name else '' for i, name in enumerate(node.output)]
        key = alone.SerializeToString() + str([value.dtype.str for value in feeds.values()]).encode()
        if key not in self._sessions:
            self._sessions[key] = self._session(alone, feeds)
        return self._sessions[key].run(None, feeds)

    def _session(self, node: onnx.NodeProto, feeds: dict[str, np.ndarray]) -> Any:
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), None)
            for name, value in feeds.items()
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], 'node', inputs, outputs)
        model = helper.make_model(graph, opset_imports=self._opsets, ir_version=self._version)
        return session(model.SerializeToString())


Step = tuple[onnx.NodeProto, list[np.ndarray], list[np.ndarray]]


def steps(graph: Graph, batch: np.ndarray, run: Runner) -> Iterator[Step]:
    """Run node by node: each with its inputs and its outputs, without those that it leaves out.

    A value is kept until its last node has taken it, so that what fits in memory to run fits here too.
    """
    last = {name: node.name for node in graph.nodes for name in node.input}
    values: dict[str, np.ndarray] = {graph.proto.graph.input[0].name: batch}
    for node in graph.nodes:
        inputs = [values[name] if name in values else graph.constants[name] for name in node.input if name]
        outputs = run(node, inputs)
        yield node, inputs, outputs
        values.update(zip((name for name in node.output if name), outputs, strict=True))
        for name in set(node.input):
            if last[name] == node.name:
                values.pop(name, None)


def measure(graph: Graph, batches: Iterable[np.ndarray], names: set[str], kept: set[str]) -> dict[str, Measured]:
    """Run all nodes in float32, and those named again from inputs rounded to float16.

    Nodes in `kept` are float32, and of their inputs those alone are rounded that nodes outside of it give.
    """
    found = {name: Measured() for name in names}
    makers = {name: node.name for name, node in graph.producers.items()}
    run = Runner(graph)
    for batch in batches:
        for node, inputs, outputs in steps(graph, batch, run):
            if node.name in names:
                given = [name for name in node.input if name]
                exact = {n for n in given if node.name in kept and makers.get(n, node.name) in kept}
                rounded = [x if n in exact else _rounded(x) for n, x in zip(given, inputs, strict=True)]
                if exact != set(given):
                    taken = [x for n, x in zip(given, inputs, strict=True) if n not in graph.constants]
                    found[node.name].note(taken, outputs, run(node, rounded))
    return found


def step_outputs(graph: Graph, batches: Iterable[np.ndarray]) -> list[list[np.ndarray]]:
    """Outputs of a file for each batch, with every tensor in the type that the file says.

    ONNX Runtime as a whole has few float16 operators on a CPU and leaves out the rounding between those that it
    replaces by float32; node by node it cannot.
    """
    run, found = Runner(graph), []
    for batch in batches:
        values: dict[str, np.ndarray] = {}
        for node, _, outputs in steps(graph, batch, run):
            given = zip((name for name in node.output if name), outputs, strict=True)
            values.update((name, value) for name, value in given if name in graph.outputs)
        found.append([values[name] for name in graph.outputs])
    return found


def _rounded(x: np.ndarray) -> np.ndarray:
    """The nearest float16 numbers, as float32."""
    if x.dtype != np.float32:
        return x
    with np.errstate(over='ignore'):
        return x.astype(np.float16).astype(np.float32)
