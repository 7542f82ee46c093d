"""Run the graph of an ONNX file node by node, and see what rounding to float16 does to each by itself."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from .precision import Graph, cosine
from .verify import session

__all__ = ['Measured', 'Runner', 'measure']


@dataclass
class Measured:
    """One node on all samples.

    Attributes:
        largest: Largest value that it gives.
        cosine: Lowest cosine similarity of what it gives in float16 to what it gives in float32.
    """

    largest: float = 0.0
    cosine: float = 1.0

    def note(self, exact: list[np.ndarray], rounded: list[np.ndarray]) -> None:
        """Take in what it gives once."""
        for a, b in zip(exact, rounded, strict=True):
            if a.dtype == np.float32 and a.size:
                self.largest = max(self.largest, float(np.abs(a).max()))
                with np.errstate(invalid='ignore', over='ignore'):
                    self.cosine = float(np.minimum(self.cosine, cosine(a, b)))  # NaN stays


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


def measure(graph: Graph, batches: Iterable[np.ndarray], free: set[str]) -> dict[str, Measured]:
    """Run all nodes in float32, and those named in `free` again from rounded inputs and with rounded outputs.

    A value is kept until its last node has taken it, so that what fits in memory to run fits here too.
    """
    found = {name: Measured() for name in free}
    last = {name: node.name for node in graph.nodes for name in node.input}
    run = Runner(graph)
    for batch in batches:
        values: dict[str, np.ndarray] = {graph.proto.graph.input[0].name: batch}
        for node in graph.nodes:
            inputs = [values[name] if name in values else graph.constants[name] for name in node.input if name]
            outputs = run(node, inputs)
            if node.name in free:
                found[node.name].note(outputs, [_rounded(y) for y in run(node, [_rounded(x) for x in inputs])])
            values.update(zip((name for name in node.output if name), outputs, strict=True))
            for name in set(node.input):
                if last[name] == node.name:
                    values.pop(name, None)
    return found


def _rounded(x: np.ndarray) -> np.ndarray:
    """The nearest float16 numbers, as float32."""
    if x.dtype != np.float32:
        return x
    with np.errstate(over='ignore'):
        return x.astype(np.float16).astype(np.float32)
