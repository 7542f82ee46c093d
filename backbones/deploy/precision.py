"""What lowering the precision of a written ONNX file needs, whichever the precision: read it, run it, compare, write.

The file is one of `export_onnx`: one float32 input, plain operators, no nested graphs.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper, shape_inference

from .beside import beside, writing
from .verify import Disagreement, _overlap, compare_tensors, session

__all__ = [
    'Batches',
    'Change',
    'Graph',
    'Spread',
    'as_input',
    'compare',
    'feed',
    'look',
    'mark',
    'outputs_of',
    'read',
    'saved',
    'snr',
    'spaced',
]

Batches = np.ndarray | torch.Tensor | Iterable[np.ndarray | torch.Tensor]
SEEN = 0.3  # score of the boxes that are compared: those that a user would look at
SAME = 0.5  # overlap above which two boxes are the same


@dataclass(frozen=True)
class Change:
    """One output beside that of the float32 file, on all samples.

    Attributes:
        output: Its name.
        error: Largest difference, relative to the largest value; of a detector, of the boxes that both have and of
            their masks. None of class numbers, which are compared by `pixels`.
        cosine: Cosine similarity of the same values; None of class numbers.
        top1: Share of pictures with the same largest logit; None where the output holds no logits (B, classes).
        pixels: Share of the pixels that are of the same class; None where the output holds no class numbers.
        boxes: Share of the boxes of either file, from a score of `SEEN` on, that the other has too, from half of that
            on, of the same class and overlapping by more than `SAME`; None without boxes.
    """

    output: str
    error: float | None
    cosine: float | None
    top1: float | None = None
    pixels: float | None = None
    boxes: float | None = None


@dataclass
class Graph:
    """A file in memory, with what one asks of its graph again and again.

    Attributes:
        proto: The model; every node has a name of its own, and no constant is a node.
        path: Where it came from.
        constants: Name -> value that the file holds.
        types: Name -> type of the elements (`TensorProto.FLOAT`, ...), of every tensor.
        producers: Tensor -> node that gives it.
        consumers: Tensor -> nodes that take it.
    """

    proto: onnx.ModelProto
    path: Path
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    producers: dict[str, onnx.NodeProto] = field(default_factory=dict)
    consumers: dict[str, list[onnx.NodeProto]] = field(default_factory=dict)

    @property
    def nodes(self) -> Sequence[onnx.NodeProto]:
        """All nodes, each behind those that it takes from."""
        return self.proto.graph.node

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return [value.name for value in self.proto.graph.output]

    @property
    def opset(self) -> int:
        """Version of the operators."""
        return next(entry.version for entry in self.proto.opset_import if entry.domain == '')

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Shape of the input; None for an axis that is free."""
        dims = self.proto.graph.input[0].type.tensor_type.shape.dim
        return tuple(dim.dim_value if dim.HasField('dim_value') else None for dim in dims)

    def floats(self, names: Iterable[str]) -> list[str]:
        """Those that are float32 tensors."""
        return [name for name in names if name and self.types.get(name) == TensorProto.FLOAT]

    def before(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Nodes whose float32 outputs it takes."""
        return [self.producers[name] for name in self.floats(node.input) if name in self.producers]

    def after(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Nodes that take its float32 outputs."""
        return [taker for name in self.floats(node.output) for taker in self.consumers.get(name, ())]


def read(path: str | os.PathLike) -> Graph:
    """Read a file and look through its graph.

    Raises:
        ValueError: There is no such file, or it is not a plain float32 file with one input.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f'path_in must name an ONNX file that exists, but got {path}: write it with export_onnx first.'
        )
    try:
        proto = onnx.load(path)
    except Exception as error:
        raise ValueError(f'{path} must be an ONNX file, but cannot be read as one.') from error
    given = [v for v in proto.graph.input if v.name not in {t.name for t in proto.graph.initializer}]
    kinds = {node.op_type for node in proto.graph.node}
    foreign = {node.domain for node in proto.graph.node} - {'', 'ai.onnx'}
    nested = any(a.type in (a.GRAPH, a.GRAPHS) for node in proto.graph.node for a in node.attribute)
    low = [t.name for t in proto.graph.initializer if t.data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16)]
    one = len(given) == 1 and given[0].type.tensor_type.elem_type == TensorProto.FLOAT
    if not one or foreign or nested or proto.functions or low or 'QuantizeLinear' in kinds:
        raise ValueError(
            f'{path} must be a float32 file of plain ONNX operators with one input, as export_onnx writes it: '
            'lower the precision of the float32 file, not of another file made from it.'
        )
    return look(proto, path)


def look(proto: onnx.ModelProto, path: Path) -> Graph:
    """Look through a graph of plain operators; its nodes get names of their own, and constants become initializers.

    Raises:
        ValueError: The type of a tensor does not follow.
    """
    nodes, names = list(proto.graph.node), set()
    for index, node in enumerate(nodes):
        if not node.name or node.name in names:
            node.name = f'{node.op_type}_{index}'
        names.add(node.name)
        if node.op_type == 'Constant':
            value = _constant(node)
            proto.graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
            proto.graph.node.remove(node)
    typed = shape_inference.infer_shapes(proto).graph
    graph = Graph(proto, path, {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer})
    graph.types = {v.name: v.type.tensor_type.elem_type for v in (*typed.input, *typed.value_info, *typed.output)}
    graph.types.update((tensor.name, tensor.data_type) for tensor in proto.graph.initializer)
    for node in graph.nodes:
        graph.producers.update(dict.fromkeys(node.output, node))
        for name in set(node.input):
            graph.consumers.setdefault(name, []).append(node)
    unknown = [name for node in graph.nodes for name in node.output if name and not graph.types.get(name)]
    if unknown:
        raise ValueError(f'The types of all tensors must follow from {path}, but that of {unknown[0]!r} does not.')
    return graph


def _constant(node: onnx.NodeProto) -> np.ndarray:
    value: Any = helper.get_attribute_value(node.attribute[0])
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value, np.float32 if 'float' in node.attribute[0].name else np.int64)


# Pictures


def feed(graph: Graph, data: Batches, name: str) -> Iterator[np.ndarray]:
    """Batches as the file takes them, one by one.

    Args:
        graph: The file.
        data: Pictures (N, C, H, W), which are split into batches of one or of the file's own number, or batches.
        name: Name of the argument, for the message.

    Raises:
        ValueError: There are none, or one has another shape than the file takes.
    """
    batch, rest = graph.shape[0] or 1, graph.shape[1:]
    empty = True
    if isinstance(data, np.ndarray | torch.Tensor):
        if 0 < len(data) < batch:
            raise ValueError(f'{name} must hold at least the {batch} pictures of one batch of the file: {len(data)}.')
        data = [data[i : i + batch] for i in range(0, len(data) - batch + 1, batch)]
    for piece in data:
        x = np.ascontiguousarray(piece.numpy() if isinstance(piece, torch.Tensor) else piece, np.float32)
        x = x[None] if x.ndim == len(rest) else x
        fits = x.ndim == len(graph.shape) and all(
            side in (None, s) for side, s in zip(graph.shape, x.shape, strict=True)
        )
        if not fits:
            wanted = tuple('any' if side is None else side for side in graph.shape)
            raise ValueError(f'{name} must hold batches of shape {wanted}, as {graph.path.name} takes, not {x.shape}.')
        empty = False
        yield x
    if empty:
        raise ValueError(f'{name} must hold at least one picture, but is empty: real pictures are what is measured on.')


def spaced(number: int, most: int) -> list[int]:
    """Places of at most `most` of a number of things in a row, from the first on and evenly spaced."""
    return [i * number // most for i in range(most)] if number > most else list(range(number))


class Spread:
    """Evenly spaced batches of a stream that is gone through once and may be of any length.

    Pictures often come sorted by class, so that neighbours are all of one. While the end is not known, more batches are
    held than are wanted: at most four times as many, of which every second goes whenever there are too many.

    Args:
        most: Batches that are wanted.
    """

    def __init__(self, most: int) -> None:
        self._most, self._seen, self._step = most, 0, 1
        self._held: list[np.ndarray] = []

    def add(self, batch: np.ndarray) -> None:
        """The next batch."""
        if self._seen % self._step == 0:
            self._held.append(batch)
        self._seen += 1
        if len(self._held) == 4 * self._most:
            del self._held[1::2]
            self._step *= 2

    def take(self, batches: Iterable[np.ndarray]) -> list[np.ndarray]:
        """All batches of a stream, and which of them are chosen."""
        for batch in batches:
            self.add(batch)
        return self.chosen()

    def chosen(self) -> list[np.ndarray]:
        """The batches, as many as are wanted, or all if there are fewer."""
        return [self._held[i] for i in spaced(len(self._held), self._most)]


def outputs_of(
    model: onnx.ModelProto, batches: Iterable[np.ndarray], names: Sequence[str], literal: bool = False
) -> list[list[Any]]:
    """What a model gives for each batch; tensors inside of it may be asked for too.

    Args:
        model: The model.
        batches: Inputs.
        names: What to return.
        literal: Whether each node is computed as it stands, instead of in kernels of integers for several at once.

    Raises:
        Disagreement: ONNX Runtime cannot run it.
    """
    shown = _showing(model, names)
    try:
        run = _literal(shown) if literal else session(shown.SerializeToString())
        return [list(run.run(list(names), {shown.graph.input[0].name: as_input(shown, x)})) for x in batches]
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Disagreement(f'ONNX Runtime cannot run the file of lower precision: {reason}') from error


def openvino_outputs(model: onnx.ModelProto, batches: Iterable[np.ndarray], names: Sequence[str]) -> list[list[Any]]:
    """The same in OpenVINO on the CPU.

    Raises:
        Disagreement: OpenVINO cannot run it.
    """
    import openvino

    settings = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': torch.get_num_threads()}
    core = openvino.Core()
    try:
        run = core.compile_model(core.read_model(_showing(model, names).SerializeToString()), 'CPU', settings)
        given = [run({model.graph.input[0].name: x}) for x in batches]
        return [[result[name].copy() for name in names] for result in given]
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Disagreement(f'OpenVINO cannot run the file of lower precision: {reason}') from error


def _showing(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy that gives tensors inside of it too."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    known = {value.name for value in shown.graph.output}
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    return shown


def _literal(model: onnx.ModelProto) -> Any:
    """A session that changes nothing of the graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=['CPUExecutionProvider'])


def as_input(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """A batch in the type that the model takes."""
    half = model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT16
    return x.astype(np.float16) if half else x


# Comparing


def compare(names: Sequence[str], expected: list[list[np.ndarray]], given: list[list[np.ndarray]]) -> list[Change]:
    """Each output beside that of the float32 file.

    Args:
        names: Outputs.
        expected: Batches of them from the float32 file.
        given: Those of the other file.

    Raises:
        Disagreement: An output has other shapes, or values that are not finite where they should be.
    """
    changes = []
    sets = ('dets', 'labels', 'masks') if 'dets' in names else ()
    for i, name in enumerate(names):
        pairs = [(a[i], b[i].astype(a[i].dtype)) for a, b in zip(expected, given, strict=True)]
        for a, b in pairs:
            if a.shape != b.shape or not np.isfinite(b[np.isfinite(a)]).all():
                raise Disagreement(
                    f'Output {name!r} of the file of lower precision must be as finite as in float32 and of shape '
                    f'{a.shape}, but is not: keep more of it in float32.'
                )
        if name in sets:
            continue
        # flat, since maps of pictures of different sizes have nothing else in common
        a, b = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in (0, 1))
        if a.dtype.kind in 'iu':
            changes.append(Change(name, None, None, pixels=float((a == b).mean())))
            continue
        logits = all(a.ndim == 2 and a.shape[1] > 1 for a, _ in pairs)
        top1 = float(np.concatenate([a.argmax(1) == b.argmax(1) for a, b in pairs]).mean()) if logits else None
        changes.append(Change(name, compare_tensors(a, b), cosine(a, b), top1))
    return (_boxes(names, expected, given) if sets else []) + changes


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine similarity of two arrays as vectors; 1 where both are zero, NaN where one is not finite."""
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    norms = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norms) if norms else float(not a.any() and not b.any())


def snr(expected: list[list[np.ndarray]], given: list[list[np.ndarray]]) -> float:
    """Ratio of signal to noise in decibels: the power of a tensor over that of its error, averaged over tensors."""
    ratios = []
    for a, b in zip(zip(*expected, strict=True), zip(*given, strict=True), strict=True):
        power = sum(float(np.square(x, dtype=np.float64).sum()) for x in a)
        noise = sum(float(np.square(x.astype(np.float64) - y).sum()) for x, y in zip(a, b, strict=True))
        ratios.append(noise / max(power, np.finfo(np.float64).tiny))
    mean = float(np.mean(ratios))
    return -10 * float(np.log10(max(mean, 1e-20))) if np.isfinite(mean) else -np.inf


def _boxes(names: Sequence[str], expected: list[list[np.ndarray]], given: list[list[np.ndarray]]) -> list[Change]:
    """Boxes of all pictures as sets, and the masks of those that both files have."""
    found = total = 0
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {n: [] for n in ('dets', 'masks') if n in names}
    for batches in zip(expected, given, strict=True):
        one, other = (dict(zip(names, run, strict=True)) for run in batches)
        for picture in range(len(one['dets'])):
            a, b = ({name: run[name][picture] for name in (*pairs, 'labels')} for run in (one, other))
            for mine, theirs in ((a, b), (b, a)):
                seen, near = _seen(mine, SEEN), _seen(theirs, SEEN / 2)  # so that none is lost at the border
                total += len(seen)
                if len(seen) and len(near):
                    shared = _overlap(mine['dets'][seen].astype(np.float64), theirs['dets'][near].astype(np.float64))
                    shared *= mine['labels'][seen][:, None] == theirs['labels'][near]
                    both = shared.max(1) > SAME
                    found += int(both.sum())
                    partners = near[shared.argmax(1)[both]]
                    for name, kept in pairs.items() if mine is a else ():
                        kept += zip(a[name][seen[both]], b[name][partners], strict=True)
    changes = []
    for name, kept in pairs.items():
        a, b = (np.array([pair[k] for pair in kept], np.float64) for k in (0, 1))
        boxes = (found / total if total else 1.0) if name == 'dets' else None
        changes.append(Change(name, compare_tensors(a, b), cosine(a, b), boxes=boxes))
    return changes


def _seen(found: dict[str, np.ndarray], least: float) -> np.ndarray:
    """Places of the boxes of a picture from a score on."""
    return np.flatnonzero((found['labels'] >= 0) & (found['dets'][:, 4] >= least))


# Writing


def mark(proto: onnx.ModelProto, precision: str) -> None:
    """Say in the metadata of which precision the file is; no notes on tensors inside stay."""
    from .. import __version__

    kept = {entry.key: entry.value for entry in proto.metadata_props}
    helper.set_model_props(proto, {**kept, 'precision': precision})
    proto.producer_name, proto.producer_version = 'backbones', __version__
    del proto.graph.value_info[:]


@contextlib.contextmanager
def saved(path: str | os.PathLike, source: Path) -> Iterator[Path]:
    """A file to write beside `path`, which takes its place when nothing fails.

    Raises:
        ValueError: `path` names no file in a folder, or the file that is read.
        OSError: It cannot be written; then there is none, and an older one is left as it was.
    """
    path = Path(path)
    if not path.parent.is_dir() or path.is_dir():
        raise ValueError(f'path_out must name a file in a folder that exists, but got {path}.')
    if path.resolve() == source.resolve():
        raise ValueError(f'path_out must be another file than path_in, which stays as it is, but both are {path}.')
    with beside(path) as part, writing(path):
        yield part
        os.chmod(part, 0o644)
        os.replace(part, path)
