"""Say of each node of an ONNX graph whether a runtime takes it, what it costs if not, and what removes it.

Nothing is run: the answers come from the tables in `operators/`, whose every row names its source. What no source
speaks of is 'unknown', and an unknown node does not pass.
"""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from .operators import GRAPH, Row, Runtime, Verdict, cures, runtimes
from .operators.graph import Graph, Node

__all__ = ['CONDITIONS', 'AuditReport', 'Finding', 'audit', 'known_runtimes', 'rank']

WRITTEN = 18  # the oldest opset that the exporter writes
FOREIGN = {
    'verdict': 'unknown',
    'reason': 'an operator outside of ONNX',
    'cost': 'it needs a plugin or custom operator',
}
ORDER: tuple[Verdict, ...] = ('ok', 'slow', 'unknown', 'refused')


def rank(verdict: Verdict) -> int:
    """Order of verdicts, the worst is the highest: ok, slow, unknown, refused."""
    return ORDER.index(verdict)


@dataclass(frozen=True)
class Finding:
    """What one runtime makes of one node.

    Attributes:
        node: Name of the node, or of its first output if it has none; empty for what concerns the whole file.
        operator: Its operator, `domain::operator` outside of ONNX, '(graph)' for the whole file.
        runtime: Name of the runtime.
        verdict: 'ok'; 'slow': it runs, but slower, elsewhere or less exactly; 'unknown': no source says; 'refused'.
        reason: Why.
        cost: What becomes of the model.
        cure: Option of the model or of the export that removes it.
        source: Where that was read, or with what it was measured.
    """

    node: str
    operator: str
    runtime: str
    verdict: Verdict
    reason: str = ''
    cost: str = ''
    cure: str = ''
    source: str = ''


@dataclass(frozen=True)
class AuditReport:
    """What the runtimes make of a graph.

    Attributes:
        model: Path of the file, or name of the graph.
        opset: Version of the ONNX operators.
        operators: Operator -> how often.
        runtimes: Names of the runtimes.
        findings: At least one for each node and runtime, in the order of the graph.
    """

    model: str
    opset: int
    operators: dict[str, int]
    runtimes: tuple[str, ...]
    findings: list[Finding]

    def problems(self, runtime: str | None = None) -> list[Finding]:
        """Findings that are not 'ok', of one runtime or of all, the worst first."""
        found = [f for f in self.findings if f.verdict != 'ok' and runtime in (None, f.runtime)]
        return sorted(found, key=lambda finding: -rank(finding.verdict))

    def verdict(self, runtime: str, operator: str | None = None) -> Verdict:
        """The worst verdict of a runtime, over all nodes or over those of one operator."""
        if runtime not in self.runtimes:
            raise ValueError(f'runtime must be one of {", ".join(self.runtimes)}, but got {runtime!r}.')
        found = [f for f in self.findings if f.runtime == runtime and operator in (None, f.operator)]
        return ORDER[max((rank(finding.verdict) for finding in found), default=0)]

    def passed(self, runtime: str, allow_unknown: bool = False) -> bool:
        """Whether the runtime takes every node; 'slow' passes, 'unknown' only if it is allowed to."""
        return self.verdict(runtime) in (('ok', 'slow', 'unknown') if allow_unknown else ('ok', 'slow'))

    def as_dict(self) -> dict[str, Any]:
        """For JSON: verdicts of the runtimes, operators, and the findings that are not 'ok'."""
        return {
            'model': self.model,
            'opset': self.opset,
            'operators': self.operators,
            'runtimes': {name: self.verdict(name) for name in self.runtimes},
            'problems': [asdict(finding) for finding in self.problems()],
        }


def known_runtimes() -> dict[str, str]:
    """Name of a runtime -> how people write it."""
    return {name: runtime.title for name, runtime in runtimes().items()}


def audit(model: str | os.PathLike | onnx.ModelProto, runtimes: Sequence[str] | None = None) -> AuditReport:
    """Look up every node of a graph, those of nested graphs and functions too.

    Element types and ranks are inferred; where that fails, what hangs on them is 'unknown'.

    Args:
        model: A file, or the graph itself, which stays as it is. Weights beside the file are not read.
        runtimes: Names as in `known_runtimes`; all if None.

    Returns:
        What each runtime makes of each node.

    Raises:
        ValueError: There is no such file or runtime, or the file holds no ONNX graph.
    """
    chosen = [_runtime(name) for name in dict.fromkeys(known_runtimes() if runtimes is None else runtimes)]
    if not chosen:
        raise ValueError(f'runtimes must name at least one of {", ".join(known_runtimes())}, but is empty.')
    title, proto = (model.graph.name, model) if isinstance(model, onnx.ModelProto) else (str(model), _load(model))
    graph = Graph(proto)
    operators: dict[str, int] = {}
    for node in graph.nodes:
        operators[node.operator] = operators.get(node.operator, 0) + 1
    findings = [found for runtime in chosen for found in _of_runtime(graph, runtime)]
    ordered = dict(sorted(operators.items(), key=lambda entry: (-entry[1], entry[0])))
    return AuditReport(title, graph.opset, ordered, tuple(runtime.name for runtime in chosen), findings)


def _runtime(name: str) -> Runtime:
    every = {alias: runtime for runtime in runtimes().values() for alias in (runtime.name, *runtime.aliases)}
    if name not in every:
        near = difflib.get_close_matches(name, every, n=1, cutoff=0.3)
        hint = f' Did you mean {near[0]}?' if near else ''
        raise ValueError(f'There is no runtime {name!r} in the tables.{hint} They hold {", ".join(runtimes())}.')
    return every[name]


def _load(path: str | os.PathLike) -> onnx.ModelProto:
    path = Path(path)
    if not path.is_file():
        raise ValueError(f'There is no file {path}: give an ONNX file.')
    try:
        proto = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise ValueError(f'{path} is not an ONNX file: {error}') from error
    if not (proto.graph.node and proto.opset_import):
        raise ValueError(f'{path} is not an ONNX file, or its graph has no nodes.')
    return proto


# What a condition of a row means


def _above(node: Node, argument: Sequence[Any]) -> bool | None:
    place, limit = argument
    names = [*node.inputs, *node.outputs] if place == 'any' else node.inputs[place : place + 1]
    values = [node.named(name) for name in names if name]
    return _any(None if value.shape is None else len(value.shape) > limit for value in values if value.dtype != '')


def _constant_holds(test: Callable[[np.ndarray, Any], bool]) -> Callable[[Node, Sequence[Any]], bool | None]:
    def holds(node: Node, argument: Sequence[Any]) -> bool | None:
        place = argument[0]
        if not node.inputs[place : place + 1] or not node.inputs[place]:
            return False
        value = node.constant(place)
        return None if value is None else value.size > 0 and bool(test(value, argument[1]))

    return holds


def _pools_outside(node: Node, wanted: bool) -> bool | None:
    """Whether a pooling that rounds its size up would have a window that starts behind the map and its padding.

    For a map of n positions, padding p before and q after, a window of w and a stride of s, the last window of
    ceil((n + p + q - w) / s) + 1 starts at s * ceil((n + p + q - w) / s), which must be less than n + p.
    """
    kernel = node.attribute('kernel_shape')
    if not kernel or not node.attribute('ceil_mode'):
        return not wanted
    axes = len(kernel)
    pads = node.attribute('pads') or [0] * 2 * axes
    sides = (node.value(0).shape or (None,) * (axes + 2))[2:]
    spans = zip(kernel, node.attribute('strides') or [1] * axes, node.attribute('dilations') or [1] * axes, strict=True)
    facts = []
    for n, p, q, (size, s, dilation) in zip(sides, pads[:axes], pads[axes:], spans, strict=False):
        w = dilation * (size - 1) + 1
        can = s + q > w  # for some n
        facts.append(can and (None if n is None else s * -(-(n + p + q - w) // s) >= n + p))
    found = _any(facts)
    return None if found is None else found == wanted


def _any(facts: Iterable[bool | None]) -> bool | None:
    """Whether one holds; None if that hangs on one that is not known."""
    found = set(facts)
    return True if True in found else None if None in found else False


# A condition holds, does not hold, or hangs on what is not known of the node: None.
CONDITIONS: dict[str, Callable[[Node, Any], bool | None]] = {
    # rank_above: [place of the input or 'any', rank]
    'rank_above': _above,
    # attribute: {name: values, one of which it has}; attribute_not: {name: values, none of which it has}
    'attribute': lambda node, found: all(node.attribute(name) in values for name, values in found.items()),
    'attribute_not': lambda node, found: all(
        (value := node.attribute(name)) is not None and value not in values for name, values in found.items()
    ),
    # attribute_like: {name: regular expression that occurs in it}
    'attribute_like': lambda node, found: all(
        re.search(pattern, str(node.attribute(name) or '')) for name, pattern in found.items()
    ),
    # written: name of an attribute that the node has, be it with the default value
    'written': lambda node, name: name in node.attributes,
    # output: place of an output that is used
    'output': lambda node, place: place < len(node.outputs) and bool(node.outputs[place]),
    # variable: place of an input that is there and no constant
    'variable': lambda node, place: node.is_variable(place),
    # absent: place of an input that is left out
    'absent': lambda node, place: not any(node.inputs[place : place + 1]),
    # value_above: [place of a constant input, limit]; value_not: [place, the only value]
    'value_above': _constant_holds(lambda value, limit: value.max() > limit),
    'value_not': _constant_holds(lambda value, only: (value != only).any()),
    # inputs_above: number of inputs
    'inputs_above': lambda node, limit: len(node.inputs) > limit,
    # any_type: element types, one of which an input or output has
    'any_type': lambda node, found: _any(None if dtype is None else dtype in found for _, dtype in node.bound),
    # pools_outside: whether rounding up gives a window that starts behind the map
    'pools_outside': _pools_outside,
    # opset_above: opset of the file
    'opset_above': lambda node, limit: node.opset > limit,
}


# What a runtime makes of a graph


def _of_runtime(graph: Graph, runtime: Runtime) -> Iterator[Finding]:
    yield from _of_file(graph, runtime)
    for node in graph.nodes:
        found = list(_of_node(node, runtime))
        yield from found or [Finding(node.name, node.operator, runtime.name, 'ok')]


def _of_file(graph: Graph, runtime: Runtime) -> Iterator[Finding]:
    """What concerns no single node: the opset and inputs of free size."""
    if runtime.opsets and not runtime.opsets[0] <= graph.opset <= runtime.opsets[1]:
        low, high = runtime.opsets
        lower = f'no option of the export; onnx.version_converter.convert_version(model, {high}) where it can'
        cure = f'--opset {high}' if high >= WRITTEN else lower
        yield Finding(
            node='',
            operator=GRAPH,
            runtime=runtime.name,
            verdict='refused',
            reason=f'the file has opset {graph.opset}, {runtime.title} takes {low} to {high}',
            cost=runtime.table.refusal,
            cure=cure if graph.opset > high else f'--opset {max(low, WRITTEN)}',
            source=runtime.source,
        )
    free = any(value.shape is None or None in value.shape for value in graph.inputs.values())
    for row in runtime.table.limits_of(GRAPH, runtime.version, 1):
        if free or not row.when.get('free'):
            yield _finding(row, '', GRAPH, runtime)


def _of_node(node: Node, runtime: Runtime) -> Iterator[Finding]:
    """Findings of one node; none if it is taken without a word."""
    table = runtime.table
    row = table.row(node.operator, runtime.version, node.since_version)
    if row is None:
        foreign = '::' in node.operator
        listed = replace(table.unlisted, **(FOREIGN if foreign else {}))
        yield _finding(listed, node.name, node.operator, runtime, source=runtime.source)
        return
    if row.verdict != 'ok' or row.reason:
        yield _finding(row, node.name, node.operator, runtime)
    if row.verdict == 'refused':
        return
    yield from _of_types(node, row, runtime)
    for limit in table.limits_of(node.operator, runtime.version, node.since_version):
        facts = [CONDITIONS[name](node, argument) for name, argument in limit.when.items()]
        if False in facts:
            continue
        if None not in facts:
            yield _finding(limit, node.name, node.operator, runtime)
        elif rank(limit.verdict) >= rank('unknown'):
            unclear = replace(limit, verdict='unknown', cost=limit.cost or table.refusal)
            reason = f'whether this concerns it is not known: {limit.reason}'
            yield _finding(unclear, node.name, node.operator, runtime, reason=reason)


def _of_types(node: Node, row: Row, runtime: Runtime) -> Iterator[Finding]:
    """Element types that the row does not list, once each."""
    table = runtime.table
    for variable, dtype in dict.fromkeys(node.bound):
        taken = row.types.get(variable)
        if taken is None or dtype in taken:
            continue
        if dtype is None:
            unclear = replace(table.other_type, verdict='unknown')
            reason = f'an element type is not known; it takes {", ".join(sorted(taken))}'
            yield _finding(unclear, node.name, node.operator, runtime, reason=reason, source=row.source)
            continue
        casts = (cast for cast in table.casts if cast.holds(runtime.version) and cast.casts.get(dtype) in taken)
        cast = next(casts, None)
        if cast is not None:
            if cast.verdict != 'ok':
                reason = f'{dtype} is computed in {cast.casts[dtype]}'
                yield _finding(cast, node.name, node.operator, runtime, reason=reason)
            continue
        reason = f'{dtype} is none of {", ".join(sorted(taken))}'
        cure = 'export in float32' if dtype == 'float64' else ''
        yield _finding(table.other_type, node.name, node.operator, runtime, reason=reason, cure=cure, source=row.source)


def _finding(row: Row, node: str, operator: str, runtime: Runtime, **other: str) -> Finding:
    """The row as a finding, completed by what holds for the runtime and for the operator."""
    verdict = row.verdict
    cost = row.cost or (runtime.table.refusal if verdict == 'refused' else '')
    cure = row.cure
    if not cure and verdict != 'ok' and operator in cures():
        cure = cures()[operator].cure
    facts = {'reason': row.reason, 'cost': cost, 'cure': cure, 'source': row.source}
    facts.update({name: text for name, text in other.items() if text})
    return Finding(node, operator, runtime.name, verdict, **facts)
