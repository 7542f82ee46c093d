"""Write a float32 ONNX file again in float16, but for what needs float32, told by rule and by measurement.

Every tensor of the file has one type and casts stand at the borders alone, so that a runtime of strong typing, as
TensorRT is from version 11 on, computes each node in the type that was measured here.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, defs, helper, numpy_helper

from .precision import Batches, Change, Graph, Spread, as_input, compare, feed, look, mark, outputs_of, read, saved
from .probe import Measured, measure, step_outputs
from .sensitive import FIXED, HEAVY, MOVERS, SHAPES, rules
from .verify import Disagreement

__all__ = ['HalfReport', 'to_half']

LARGEST = float(np.finfo(np.float16).max)  # 65504
SMALLEST = float(np.finfo(np.float16).smallest_normal)  # 6.1e-5
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
ALIKE = 0.5  # share of boxes or pixels, or else cosine similarity, below which a file is another than it should be
TYPES: dict[int, Any] = {FLOAT: np.float32, HALF: np.float16}


@dataclass
class HalfReport:
    """What was written, and how it differs from the float32 file.

    Attributes:
        path: The file.
        kept: Node that stays in float32 -> why.
        measured: Node -> its largest value, and how alike it is in float16, of all that were measured.
        half: Number of nodes in float16.
        casts: Number of casts at the borders.
        headroom: Largest float16 number over the largest value of any node in float16, on the samples.
        cosine: Lowest cosine similarity between a node in float16 and the same in float32, each given the same input.
        pictures: Samples that were measured and compared on.
        changes: Each output beside the float32 file's, on the samples, with each value rounded to the type that it has.
        size_before: Bytes of the float32 file.
        size: Bytes of the file.
    """

    path: Path
    kept: dict[str, str]
    measured: dict[str, Measured]
    half: int
    casts: int
    headroom: float
    cosine: float
    pictures: int
    changes: list[Change]
    size_before: int
    size: int


def to_half(
    path_in: str | os.PathLike,
    path_out: str | os.PathLike,
    samples: Batches,
    *,
    most: int = 8,
    least_cosine: float = 0.9999,
    least_headroom: float = 8.0,
    keep: Sequence[str] = (),
    keep_io: bool = True,
) -> HalfReport:
    """Lower a file to float16 where that costs little, and compare it with what it was.

    In float32 stay, by rule: softmax, norms and their parts, sums over many values, exponentials, powers and roots,
    divisions, transforms to frequencies, spiking neurons, the decoding of a detector's boxes, and what is computed from
    the shape of the input alone (coordinates). By measurement: nodes whose values come near the largest float16 number,
    whose constants have no float16 number near, or whose output from rounded inputs is not alike to that in float32.
    Last, cheap nodes between float32 nodes, where that saves casts.

    Args:
        path_in: A float32 file that `export_onnx` wrote; it stays as it is.
        path_out: Where the new file goes.
        samples: Real pictures as the file takes them: (N, C, H, W), or batches of any sizes that it takes.
        most: Batches that are measured and compared at most, evenly spaced over all that are given.
        least_cosine: Lowest cosine similarity of a node in float16 to the same in float32.
        least_headroom: Least factor between the largest value of a node and the largest float16 number.
        keep: Names of further nodes, or kinds of operators, that stay in float32.
        keep_io: Whether inputs and outputs stay float32.

    Returns:
        What was written, what stays float32 and why, and how the outputs differ.

    Raises:
        ValueError: An argument that cannot be, or, as `Disagreement`, a file that gives no finite numbers, or others
            than the float32 file; then there is none.
    """
    graph = read(path_in)
    if not (0 < least_cosine <= 1 and least_headroom >= 1 and most >= 1):
        raise ValueError(
            'least_cosine must lie in (0, 1], least_headroom and most be at least 1, but got '
            f'{least_cosine}, {least_headroom} and {most}.'
        )
    batches = Spread(most).take(feed(graph, samples, 'samples'))
    kept = _constants(graph) | _fixed_types(graph) | _asked(graph, keep) | rules(graph)
    floating = [node for node in _floating(graph) if kept.get(node.name) != FIXED]
    found = measure(graph, batches, {node.name for node in floating}, set(kept))
    kept |= _measured(graph, floating, found, set(kept), least_cosine, least_headroom)
    kept |= _between(graph, set(kept), keep_io)
    kept = {node.name: kept[node.name] for node in _floating(graph) if node.name in kept}
    proto, casts = _convert(graph, set(kept), keep_io)
    with saved(path_out, graph.path) as part:
        onnx.checker.check_model(proto, full_check=True)
        onnx.save(proto, part)
        expected = outputs_of(graph.proto, batches, graph.outputs)
        compare(graph.outputs, expected, outputs_of(proto, batches, graph.outputs))  # that it runs as a whole
        inputs = [as_input(proto, batch) for batch in batches]
        changes = compare(graph.outputs, expected, step_outputs(look(proto, part), inputs))
        _check_alike(changes)
    half = [found[node.name] for node in floating if node.name not in kept]
    return HalfReport(
        Path(path_out),
        kept,
        found,
        len(half),
        casts,
        LARGEST / max((values.largest for values in half), default=SMALLEST),
        min((values.cosine for values in half), default=1.0),
        sum(map(len, batches)),
        changes,
        graph.path.stat().st_size,
        Path(path_out).stat().st_size,
    )


def _check_alike(changes: Sequence[Change]) -> None:
    """Refuse a file whose outputs have little to do with those of the float32 file.

    Raises:
        Disagreement: Too few boxes or pixels are the same, or the cosine similarity is too low.
    """
    for change in changes:
        shares = {'the same boxes': change.boxes, 'the same pixels': change.pixels, 'cosine similarity': change.cosine}
        what, found = next((what, share) for what, share in shares.items() if share is not None)
        if not found >= ALIKE:
            raise Disagreement(
                f'Output {change.output!r} of the file of lower precision must be like that of the float32 file, but '
                f'{what}: {found:.2g}, where {ALIKE:g} is the least: keep more of it in float32, or give other samples.'
            )


# What stays


def _floating(graph: Graph) -> list[onnx.NodeProto]:
    """Nodes that take or give float32 values, but for those that ask for the shape alone."""
    nodes = (node for node in graph.nodes if node.op_type not in SHAPES)
    return [node for node in nodes if graph.floats(node.input) or graph.floats(node.output)]


def _asked(graph: Graph, keep: Sequence[str]) -> dict[str, str]:
    known = {node.name for node in graph.nodes} | {node.op_type for node in graph.nodes}
    unknown = sorted(set(keep) - known)
    if unknown:
        raise ValueError(f'keep must name nodes or operators of {graph.path.name}, but there is no {unknown[0]!r}.')
    return {n.name: 'asked for' for n in graph.nodes if n.name in keep or n.op_type in keep}


def _fixed_types(graph: Graph) -> dict[str, str]:
    """Nodes whose float32 values the standard lets be nothing else, and conversions to and from other numbers."""
    found = {}
    for node in _floating(graph):
        taken, given = _places(graph, node)
        if node.op_type in ('Cast', 'CastLike'):
            found[node.name] = 'conversion of other numbers'
        elif len(given) < len(graph.floats(node.output)) or not (taken or given):
            found[node.name] = 'an operator of float32 alone'
    return found


def _places(graph: Graph, node: onnx.NodeProto) -> tuple[list[int], list[int]]:
    """Places of float32 inputs and outputs that may be float16 by the standard; scales of a resize may not, e.g."""
    schema = defs.get_schema(node.op_type, graph.opset, '')
    free = {c.type_param_str for c in schema.type_constraints if 'tensor(float16)' in c.allowed_type_strs}
    places = []
    for names, formal in ((node.input, schema.inputs), (node.output, schema.outputs)):
        kinds = [formal[min(i, len(formal) - 1)].type_str for i in range(len(names))]
        places.append([i for i, name in enumerate(names) if graph.floats([name]) and kinds[i] in free])
    return places[0], places[1]


def _constants(graph: Graph) -> dict[str, str]:
    """Nodes with constants that are too large for float16, or so small that nothing of them remains."""
    found = {}
    for node in _floating(graph):
        for name in graph.floats(node.input):
            value = np.abs(graph.constants.get(name, np.zeros(1)))
            largest = float(value[np.isfinite(value)].max(initial=0))
            if largest > LARGEST or 0 < largest < SMALLEST:
                found.setdefault(node.name, f'constants of up to {largest:.3g}, which float16 does not hold well')
    return found


def _measured(
    graph: Graph,
    nodes: list[onnx.NodeProto],
    found: dict[str, Measured],
    kept: set[str],
    least_cosine: float,
    least_headroom: float,
) -> dict[str, str]:
    """Nodes that cannot be float16 by what was measured, and those that feed what cannot take rounded values."""
    added = {}
    for node in nodes:
        values = found[node.name]
        headroom = LARGEST / max(values.largest, SMALLEST)
        if not headroom >= least_headroom:
            added[node.name] = f'values up to {values.largest:.3g}, headroom {headroom:.2g}'
        elif not values.cosine >= least_cosine:
            added[node.name] = f'cosine similarity {values.cosine:.6f}'
        if not values.cosine_inputs >= least_cosine:
            queue = graph.before(node)
            while queue:
                feeding = queue.pop()
                added.setdefault(feeding.name, f'feeds {node.name}, which rounded values change')
                queue += graph.before(feeding) if feeding.op_type in MOVERS else []
    return {name: reason for name, reason in added.items() if name not in kept}


# Borders


@dataclass
class Border:
    """Which tensors are float16, once it is known which nodes are.

    Attributes:
        graph: The float32 file.
        kept: Names of the nodes in float32.
        keep_io: Whether inputs and outputs are float32.
    """

    graph: Graph
    kept: set[str]
    keep_io: bool

    def given(self, name: str) -> int:
        """Type of a float tensor that is no constant, as it is made."""
        node = self.graph.producers.get(name)
        half = not self.keep_io if node is None else node.name not in self.kept
        return HALF if half else FLOAT

    def wanted(self, node: onnx.NodeProto, name: str) -> int:
        """Type in which a node takes a float tensor."""
        if node.op_type in SHAPES:
            return self.given(name)
        places = [] if node.name in self.kept else _places(self.graph, node)[0]
        return HALF if any(node.input[i] == name for i in places) else FLOAT

    def is_cast(self, name: str) -> bool:
        """Whether somebody wants a tensor in the other type."""
        wanted = {self.wanted(node, name) for node in self.graph.consumers.get(name, ())}
        if name in self.graph.outputs:
            wanted.add(FLOAT if self.keep_io else HALF)
        return bool(wanted - {self.given(name)})


def _between(graph: Graph, kept: set[str], keep_io: bool) -> dict[str, str]:
    """Cheap nodes beside float32 nodes that need fewer casts if they are float32 too."""
    found: dict[str, str] = {}
    border = Border(graph, set(kept), keep_io)
    changed = True
    while changed:
        changed = False
        light = [n for n in _floating(graph) if n.name not in border.kept and n.op_type not in HEAVY]
        for group in [*_chains(graph, light), *([node] for node in light)]:
            names = {node.name for node in group}
            near = {t for node in group for t in graph.floats([*node.input, *node.output]) if t not in graph.constants}
            if names <= border.kept:
                continue
            before = sum(map(border.is_cast, near))
            if before > sum(map(Border(graph, border.kept | names, keep_io).is_cast, near)):
                border.kept |= names
                found.update(dict.fromkeys(names, 'between nodes in float32'))
                changed = True
    return found


def _chains(graph: Graph, light: list[onnx.NodeProto]) -> list[list[onnx.NodeProto]]:
    """Groups of nodes that only move values and hang together."""
    movers = {node.name: node for node in light if node.op_type in MOVERS}
    groups = []
    while movers:
        queue, group = [movers.popitem()[1]], []
        while queue:
            node = queue.pop()
            group.append(node)
            queue += [movers.pop(n.name) for n in (*graph.before(node), *graph.after(node)) if n.name in movers]
        groups.append(group)
    return groups


def _convert(graph: Graph, kept: set[str], keep_io: bool) -> tuple[onnx.ModelProto, int]:
    """The graph with float16 nodes and casts at the borders, and how many casts these are."""
    border = Border(graph, kept, keep_io)
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    del proto.graph.node[:], proto.graph.initializer[:]
    written = _Writer(proto, border)
    for node in graph.nodes:
        written.add(node)
    for value in proto.graph.output:
        written.finish(value)
    if not keep_io:
        for value in (*proto.graph.input, *proto.graph.output):
            if value.type.tensor_type.elem_type == FLOAT:
                value.type.tensor_type.elem_type = HALF
    mark(proto, 'float16')
    return proto, written.casts


class _Writer:
    """Writes nodes and constants in the types that the border says."""

    def __init__(self, proto: onnx.ModelProto, border: Border) -> None:
        self.proto, self.border, self.graph = proto, border, border.graph
        self.casts = 0
        self._there: dict[tuple[str, int], str] = {}

    def add(self, node: onnx.NodeProto) -> None:
        """A node, behind the casts and constants that it needs."""
        new = onnx.NodeProto()
        new.CopyFrom(node)
        floats = set(self.graph.floats(node.input))
        for i, name in enumerate(node.input):
            kind = self.border.wanted(node, name) if name in floats else 0
            new.input[i] = self._typed(name, kind) if name else ''
        self.proto.graph.node.append(new)

    def _typed(self, name: str, kind: int) -> str:
        """Name of a tensor in a type; it is made if it is not there."""
        key = name, kind
        if key not in self._there:
            self._there[key] = self._constant(name, kind) if name in self.graph.constants else self._cast(name, kind)
        return self._there[key]

    def _constant(self, name: str, kind: int) -> str:
        other = (name, FLOAT if kind == HALF else HALF) in self._there
        new = f'{name}_{_NAMES[kind]}' if other else name
        value = self.graph.constants[name]
        self.proto.graph.initializer.append(numpy_helper.from_array(value.astype(TYPES.get(kind, value.dtype)), new))
        return new

    def _cast(self, name: str, kind: int) -> str:
        if not kind or kind == self.border.given(name):
            return name
        new = f'{name}_{_NAMES[kind]}'
        self.proto.graph.node.append(helper.make_node('Cast', [name], [new], f'cast_{new}', to=kind))
        self.casts += 1
        return new

    def finish(self, value: onnx.ValueInfoProto) -> None:
        """An output keeps its name: what is cast to it gets another."""
        name, kind = value.name, FLOAT if self.border.keep_io else HALF
        if not self.graph.floats([name]) or kind == self.border.given(name):
            return
        inner = f'{name}_inner'
        for node in self.proto.graph.node:
            node.input[:] = [inner if n == name else n for n in node.input]
            node.output[:] = [inner if n == name else n for n in node.output]
        there = self._there.get((name, kind))
        if there is None:
            self.proto.graph.node.append(helper.make_node('Cast', [inner], [name], f'cast_{name}', to=kind))
            self.casts += 1
            return
        for node in self.proto.graph.node:  # inner nodes take it in that type already
            node.input[:] = [name if n == there else n for n in node.input]
            node.output[:] = [name if n == there else n for n in node.output]


_NAMES = {FLOAT: 'float', HALF: 'half', 0: 'same'}
