"""Nodes of an ONNX graph that stay in float32 by rule, whatever is measured, told by what they do and not by names.

Rounding in them is not an error of the size of the rounding: a spike moves to another step, a box wins over another, a
sum of squares overflows for the one picture that was not measured.
"""

from collections.abc import Iterable

import numpy as np
import onnx

from .precision import Graph

__all__ = ['FIXED', 'HEAVY', 'MOVERS', 'SHAPES', 'SPIKING', 'decoding', 'rules']

FIXED, SPIKING = 'made of the shape alone', 'spiking neuron or threshold'  # reasons that others ask for


def _words(text: str) -> set[str]:
    return set(text.split())


HEAVY = _words('Conv ConvTranspose DeformConv Einsum Gemm MatMul')
# What passes values on as they are.
MOVERS = _words(
    'Concat DepthToSpace Expand Flatten Gather GatherElements GatherND Identity Pad Reshape Slice SpaceToDepth Split '
    'Squeeze Tile Transpose Unsqueeze'
)
NORMS = _words(
    'BatchNormalization GroupNormalization InstanceNormalization LayerNormalization LpNormalization LRN '
    'MeanVarianceNormalization RMSNormalization'
)
SUMS = _words(
    'CumSum GlobalAveragePool GlobalLpPool ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMean ReduceProd '
    'ReduceSum ReduceSumSquare'
)
NAMED = {
    **dict.fromkeys(('Softmax', 'LogSoftmax'), 'softmax'),
    **dict.fromkeys(NORMS, 'norm'),
    **dict.fromkeys(SUMS, 'reduction'),
    **dict.fromkeys(('Exp', 'Log', 'Pow', 'Reciprocal', 'Sqrt'), 'exponential, power or root'),
    **dict.fromkeys(('DFT', 'STFT', 'MelWeightMatrix'), 'spectral transform'),
    **dict.fromkeys(('GridSample', 'AffineGrid'), 'coordinates'),
}
# Where a rounded value decides.
THRESHOLDS = _words('ArgMax ArgMin Ceil Equal Floor Greater GreaterOrEqual Less LessOrEqual Mod Round Sign TopK')
# What a neuron's charge is made of: arithmetic of each position for itself.
ARITHMETIC = _words(
    'Abs Add And Cast Clip Div Exp Max Min Mul Neg Not Or Pow Reciprocal Relu Sigmoid Softplus Sqrt Sub Sum Tanh Where'
)
SQUARES = {'Abs', 'Mul', 'Pow', 'Sub'}
CHOICES = {'NonMaxSuppression', 'TopK'}
SHAPES = {'Shape', 'Size'}  # take a tensor and none of its values
STEPS = 16  # time steps: the largest matrix over time that is taken for one


def rules(graph: Graph) -> dict[str, str]:
    """Nodes that compute with float32 values and stay so -> why."""
    found: dict[str, str] = {}
    fixed = _without_picture(graph)
    parts: list[tuple[str, Iterable[onnx.NodeProto]]] = [
        ('decoding of boxes', decoding(graph)),
        (FIXED, [node for node in graph.nodes if node.name in fixed]),
        (SPIKING, _neurons(graph, fixed)),
        ('spectral transform', _spectral(graph, fixed)),
        ('norm', _norms(graph)),
    ]
    for reason, nodes in parts:
        for node in nodes:
            found.setdefault(node.name, reason)
    for node in graph.nodes:
        if node.op_type in NAMED:
            found.setdefault(node.name, NAMED[node.op_type])
        elif node.op_type == 'Div' and node.input[1] not in graph.constants:
            found.setdefault(node.name, 'division')
    nodes = [node for node in graph.nodes if node.name in found and node.op_type not in SHAPES]
    return {n.name: found[n.name] for n in nodes if graph.floats(n.output) or graph.floats(n.input)}


def _without_picture(graph: Graph) -> set[str]:
    """Names of nodes whose outputs follow from the shape of the input, not from its values."""
    seen = {graph.proto.graph.input[0].name}
    found = set()
    for node in graph.nodes:
        if node.op_type in SHAPES or seen.isdisjoint(node.input):
            found.add(node.name)
        else:
            seen.update(node.output)
    return found


def _upwards(graph: Graph, start: Iterable[onnx.NodeProto], through: set[str]) -> list[onnx.NodeProto]:
    """What the float inputs of `start` are made of, as far as nodes of these kinds reach."""
    found, queue = {}, [node for first in start for node in graph.before(first)]
    while queue:
        node = queue.pop()
        if node.name not in found and node.op_type in through:
            found[node.name] = node
            queue += graph.before(node)
    return list(found.values())


# Detectors


def decoding(graph: Graph) -> list[onnx.NodeProto]:
    """From the maps of a detector's head to its boxes: all behind what chooses, and what is before it but layers."""
    if not any(node.op_type == 'NonMaxSuppression' for node in graph.nodes):
        return []
    chosen = [node for node in graph.nodes if node.op_type in CHOICES]
    names = {node.name for node in chosen}
    alive = {name for node in chosen for name in node.output}
    for node in graph.nodes:
        if not alive.isdisjoint(node.input):
            names.add(node.name)
            alive.update(node.output)
    behind = [node for node in graph.nodes if node.name in names]
    through = MOVERS | ARITHMETIC | NAMED.keys() | CHOICES
    return behind + [node for node in _upwards(graph, behind, through) if node.name not in names]


# Neurons


def _neurons(graph: Graph, fixed: set[str]) -> list[onnx.NodeProto]:
    """Comparisons of what comes from the picture, the charge and reset before them, and the spikes behind."""
    starts = [
        node
        for node in graph.nodes
        if node.op_type in THRESHOLDS and node.name not in fixed and graph.floats(node.input)
    ]
    before = _upwards(graph, starts, ARITHMETIC | THRESHOLDS)
    before += [
        node
        for first in (*starts, *before)
        for node in graph.before(first)
        if node.op_type in ('Gemm', 'MatMul') and _is_over_time(graph, node)  # a charge of all steps at once
    ]
    spikes = [
        n for node in starts for name in node.output for n in graph.consumers.get(name, ()) if n.op_type in ARITHMETIC
    ]
    return [*starts, *before, *spikes]


def _is_over_time(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether it is a product with a constant (T, T) from the left."""
    shape = graph.constants[node.input[0]].shape if node.input[0] in graph.constants else ()
    return len(shape) == 2 and shape[0] == shape[1] <= STEPS


# Norms and transforms


def _norms(graph: Graph) -> list[onnx.NodeProto]:
    """Norms in their parts: the squares and sums before a root, and the products with its inverse."""
    found: list[onnx.NodeProto] = []
    for root in graph.nodes:
        if root.op_type == 'Sqrt' or (root.op_type == 'Pow' and _exponent(graph, root) in (0.5, -0.5)):
            above = _upwards(graph, [root], ARITHMETIC)
            sums = [node for first in (root, *above) for node in graph.before(first) if node.op_type in SUMS]
            if sums:
                found += [root, *above, *sums, *_upwards(graph, sums, SQUARES), *_behind(graph, root)]
    return found


def _exponent(graph: Graph, node: onnx.NodeProto) -> float | None:
    value = graph.constants.get(node.input[1])
    return float(value.ravel()[0]) if value is not None and value.size == 1 else None


def _behind(graph: Graph, root: onnx.NodeProto) -> list[onnx.NodeProto]:
    found = []
    for node in graph.after(root):
        if node.op_type in ('Reciprocal', 'Div', 'Mul', 'Cast', 'Identity'):
            found.append(node)
            if node.op_type == 'Reciprocal':
                found += [n for n in graph.after(node) if n.op_type == 'Mul']
    return found


def _spectral(graph: Graph, fixed: set[str]) -> list[onnx.NodeProto]:
    """Products with a table of waves, one that the file holds or one that it computes from the shape."""
    waves = {name for name, value in graph.constants.items() if is_wave(value)}
    for node in graph.nodes:
        if node.name in fixed and (node.op_type in ('Cos', 'Sin') or not waves.isdisjoint(node.input)):
            waves.update(node.output)
    return [n for n in graph.nodes if n.op_type in ('Einsum', 'Gemm', 'MatMul') and not waves.isdisjoint(n.input)]


def is_wave(value: np.ndarray) -> bool:
    """Whether all rows or all columns of a matrix are sampled waves, as in tables of Fourier and cosine transforms.

    A wave is known by x[i - 1] + x[i + 1] = 2 cos(w) x[i], with one w of its own for each.
    """
    value = value.squeeze()
    if value.ndim != 2 or value.dtype.kind != 'f' or min(value.shape) < 4:
        return False
    for waves in (value, value.T):  # along the second axis
        middle, sides = waves[:, 1:-1].astype(np.float64), waves[:, :-2].astype(np.float64) + waves[:, 2:]
        power = (middle * middle).sum(1)
        factor = (middle * sides).sum(1) / np.maximum(power, 1e-30)
        rest = np.abs(sides - factor[:, None] * middle).max()
        if power.any() and rest <= 1e-4 * np.abs(waves).max():
            return True
    return False
