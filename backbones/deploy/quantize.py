"""Write a float32 ONNX file again with products in 8-bit integers, as far as the outputs allow it.

Layers with constant weights (convolutions and matrix products) take integers; all else stays float32. Weights have a
scale for each output channel, values one for each tensor; every zero is at zero, since TensorRT knows nothing else, and
biases stay float32. The scales are standard QuantizeLinear and DequantizeLinear nodes, which any runtime reads.
"""

import importlib.util
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import onnx

from .precision import (
    Batches,
    Change,
    Graph,
    Spread,
    compare,
    feed,
    mark,
    openvino_outputs,
    outputs_of,
    read,
    saved,
    snr,
    spaced,
)
from .quiet import quiet
from .sensitive import MOVERS, SHAPES, decoding, rules
from .verify import Disagreement

__all__ = ['Method', 'QuantizeReport', 'quantize']

Method = Literal['minmax', 'entropy', 'percentile']
LAYERS = ('Conv', 'ConvTranspose', 'Gemm', 'MatMul')
# Of ONNX Runtime's calibrators; as many bins as integers, its default, would make 'entropy' the same as 'minmax'.
SETTINGS: dict[Method, dict[str, Any]] = {
    'minmax': {},
    'entropy': {'num_bins': 1024, 'num_quantized_bins': 128},
    'percentile': {'percentile': 99.99},
}
GROWING = ('LogSoftmax', 'Sigmoid', 'Softmax')  # what leaves the order of logits as it is
GROUPS = 48  # groups of layers that are tried one by one


@dataclass
class QuantizeReport:
    """What was written, and how it differs from the float32 file.

    Attributes:
        path: The file.
        quantized: Names of the layers in integers.
        kept: Layer that stays float32 -> why.
        snr_before: Signal to noise in decibels with all layers in integers that may be, on the samples.
        snr: The same of the file.
        here: Runtime that is installed -> the same of the file in its kernels for integers on this processor. Far less
            than `snr` means that their sums overflow: then give `reduce_range`.
        reached: Whether `snr` is at least the target.
        before: Each output beside the float32 file's with all layers in integers that may be.
        changes: The same of the file.
        pictures: Pictures that the ranges of values were taken from.
        samples: Pictures that noise and changes were measured on.
        size_before: Bytes of the float32 file.
        size: Bytes of the file.
    """

    path: Path
    quantized: tuple[str, ...]
    kept: dict[str, str]
    snr_before: float
    snr: float
    here: dict[str, float]
    reached: bool
    before: list[Change]
    changes: list[Change]
    pictures: int
    samples: int
    size_before: int
    size: int


def quantize(
    path_in: str | os.PathLike,
    path_out: str | os.PathLike,
    calibration: Batches,
    *,
    samples: Batches | None = None,
    method: Method = 'minmax',
    target: float = 20.0,
    most: float = 0.25,
    least: float = 3.0,
    count: int = 4,
    keep: Sequence[str] = (),
    outputs: bool = False,
    reduce_range: bool = False,
) -> QuantizeReport:
    """Put the layers of a file into 8-bit integers, but for those that spoil its outputs.

    By rule, what `sensitive.rules` names stays float32 (softmax, norms, spiking neurons, decoding of boxes, transforms)
    and so do products of two values of the network. If the outputs with all other layers in integers miss the target,
    each is tried in integers alone, and the worst stay float32, as few as it takes.

    Signal and noise are those of the outputs, of the maps that boxes are decoded from in a detector, or of the logits
    where a segmentor gives classes alone. They are measured with each node computed as it stands, so that they do not
    depend on the processor.

    Args:
        path_in: A float32 file that `export_onnx` wrote; it stays as it is.
        path_out: Where the new file goes.
        calibration: Real pictures as the file takes them, from which the range of each tensor is taken, best of the
            training split: (N, C, H, W), or batches, which are gone through once.
        samples: Pictures to measure and compare on; those of `calibration` if None.
        method: 'minmax' takes the largest value, 'percentile' cuts off a ten-thousandth, 'entropy' keeps the
            distribution.
        target: Signal to noise in decibels; 20 is an error of a tenth.
        most: Largest share of the layers that may stay float32 for it.
        least: Signal to noise below which there is no file; at 3 the error is seven tenths of the signal.
        count: Batches that are measured and compared at most, evenly spaced over all that are given.
        keep: Names of layers, or kinds of operators, that stay float32.
        outputs: Whether what layers give is in integers too, and not only what they take. ONNX Runtime needs that to
            compute in integers; TensorRT and OpenVINO do not, and OpenVINO 2026.4 gives wrong values for some graphs
            with it (`here` shows that).
        reduce_range: Whether weights have seven bits, for x86 processors without VNNI instructions, whose sums of
            products of eight bits overflow, in ONNX Runtime and OpenVINO alike.

    Returns:
        What was written, which layers stay float32 and why, and how the outputs differ.

    Raises:
        ValueError: An argument that cannot be, a file with no layer to quantise, or, as `Disagreement`, one with more
            noise than `least` allows; then there is none.
    """
    graph = read(path_in)
    _check(graph, method, most, count, keep)
    kept = _float_layers(graph, keep)
    layers = [node.name for node in graph.nodes if node.op_type in LAYERS and node.name not in kept]
    if not layers:
        raise ValueError(
            f'{graph.path} must hold layers with constant weights that may be in integers, but holds none.'
        )
    spread = Spread(count)
    ranges, pictures = _calibrate(graph, calibration, method, spread if samples is None else None)
    batches = spread.chosen() if samples is None else spread.take(feed(graph, samples, 'samples'))
    trial = _Trial(graph, ranges, batches, outputs, reduce_range)
    everything = trial.noise(layers)
    float_layers = trial.worst(layers, target, int(most * len(layers))) if everything < target else []
    kept |= dict.fromkeys(float_layers, 'too much noise in the outputs')
    chosen = [name for name in layers if name not in kept]
    proto = trial.build(chosen)
    mark(proto, 'int8')
    expected = outputs_of(graph.proto, batches, graph.outputs)
    with saved(path_out, graph.path) as part:
        onnx.checker.check_model(proto, full_check=True)
        onnx.save(proto, part)
        changes = before = compare(graph.outputs, expected, outputs_of(proto, batches, graph.outputs, True))
        if float_layers:
            before = compare(graph.outputs, expected, outputs_of(trial.build(layers), batches, graph.outputs, True))
        after = trial.noise(chosen) if float_layers else everything
        if not after >= least:
            raise Disagreement(
                f'The int8 file must keep a signal to noise of {least:g} dB at least, but has {after:.3g} with '
                f'{len(float_layers)} layers kept in float32 for it: give more or other pictures as calibration, let '
                'more layers stay float32, or stay with float16.'
            )
        here = trial.here(proto)
    return QuantizeReport(
        Path(path_out),
        tuple(chosen),
        {node.name: kept[node.name] for node in graph.nodes if node.name in kept},
        everything,
        after,
        here,
        after >= target,
        before,
        changes,
        pictures,
        sum(map(len, batches)),
        graph.path.stat().st_size,
        Path(path_out).stat().st_size,
    )


def _check(graph: Graph, method: str, most: float, count: int, keep: Sequence[str]) -> None:
    if method not in get_args(Method):
        raise ValueError(f'method must be one of {", ".join(get_args(Method))}, but got {method!r}.')
    if not 0 <= most <= 1 or count < 1:
        raise ValueError(f'most must lie in [0, 1] and count be at least 1, but got {most} and {count}.')
    known = {node.name for node in graph.nodes} | {node.op_type for node in graph.nodes}
    unknown = sorted(set(keep) - known)
    if unknown:
        raise ValueError(f'keep must name layers or operators of {graph.path.name}, but there is no {unknown[0]!r}.')


def _float_layers(graph: Graph, keep: Sequence[str]) -> dict[str, str]:
    """Layers that stay float32 whatever is measured -> why."""
    named = rules(graph)
    found = {}
    for node in graph.nodes:
        if node.op_type not in LAYERS:
            continue
        if node.name in named:
            found[node.name] = named[node.name]
        elif node.name in keep or node.op_type in keep:
            found[node.name] = 'asked for'
        elif not any(name in graph.constants for name in node.input[:2]):
            found[node.name] = 'a product of two values of the network'
    return found


# Ranges


def _calibrate(graph: Graph, data: Batches, method: Method, spread: Spread | None) -> tuple[Any, int]:
    """Range of each tensor on all pictures, and how many these are; the batches go to `spread` too."""
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    kinds: dict[Method, Any] = {
        'minmax': CalibrationMethod.MinMax,
        'entropy': CalibrationMethod.Entropy,
        'percentile': CalibrationMethod.Percentile,
    }
    pictures = 0
    with tempfile.TemporaryDirectory() as folder, quiet():
        source = Path(folder) / 'model.onnx'
        onnx.save(graph.proto, source)
        calibrator = create_calibrator(
            source,
            LAYERS,
            os.fspath(Path(folder) / 'augmented.onnx'),
            calibrate_method=kinds[method],
            extra_options={'symmetric': True, **SETTINGS[method]},
        )
        for batch in feed(graph, data, 'calibration'):
            calibrator.collect_data(
                _reader(graph, batch)
            )  # one by one: the calibrator holds on to all that it is given
            pictures += len(batch)
            if spread is not None:
                spread.add(batch)
        return calibrator.compute_data(), pictures


def _reader(graph: Graph, batch: np.ndarray) -> Any:
    """A batch in the form that ONNX Runtime reads."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        left = [batch]

        def get_next(self) -> Any:
            return {graph.proto.graph.input[0].name: self.left.pop()} if self.left else None

    return Reader()


# Layers


class _Trial:
    """The file with some of its layers in integers, and how much noise they make.

    Args:
        graph: The float32 file.
        ranges: Range of each tensor.
        batches: Pictures to measure on.
        outputs: Whether what layers give is in integers too.
        reduce_range: Whether weights have seven bits.
    """

    def __init__(
        self, graph: Graph, ranges: Any, batches: list[np.ndarray], outputs: bool = True, reduce_range: bool = False
    ) -> None:
        self.graph, self.ranges, self.batches = graph, ranges, batches
        self.outputs, self.reduce_range = outputs, reduce_range
        self.judged = _judged(graph)
        self.expected = outputs_of(graph.proto, batches, self.judged)

    def build(self, layers: Iterable[str]) -> onnx.ModelProto:
        """The file with these layers in integers."""
        from onnxruntime.quantization import QDQQuantizer, QuantType

        proto = onnx.ModelProto()
        proto.CopyFrom(self.graph.proto)
        options = {
            'ActivationSymmetric': True,
            'WeightSymmetric': True,
            'QuantizeBias': False,
            'OpTypesToExcludeOutputQuantization': [] if self.outputs else list(LAYERS),
        }
        with quiet():
            quantizer = QDQQuantizer(
                proto,
                per_channel=True,
                reduce_range=self.reduce_range,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QInt8,
                tensors_range=self.ranges,
                nodes_to_quantize=list(layers),
                nodes_to_exclude=[],
                op_types_to_quantize=LAYERS,
                extra_options=options,
            )
            quantizer.quantize_model()
        quantizer.model.topological_sort()
        built = quantizer.model.model
        used = {node.domain for node in built.graph.node}
        assert used <= {''}, used
        versions = [entry for entry in built.opset_import if entry.domain == '']
        del built.opset_import[:]
        built.opset_import.extend(versions)
        return built

    def noise(self, layers: Iterable[str], most: int | None = None) -> float:
        """Signal to noise of what is judged, in decibels, on at most so many of the batches."""
        places = spaced(len(self.batches), most or len(self.batches))
        given = outputs_of(self.build(layers), [self.batches[i] for i in places], self.judged, True)
        return snr([self.expected[i] for i in places], given)

    def here(self, proto: onnx.ModelProto) -> dict[str, float]:
        """Runtime -> signal to noise of a file as it computes it on this processor."""
        found = {'onnxruntime': snr(self.expected, outputs_of(proto, self.batches, self.judged))}
        if importlib.util.find_spec('openvino') is not None:
            found['openvino'] = snr(self.expected, openvino_outputs(proto, self.batches, self.judged))
        return found

    def worst(self, layers: list[str], target: float, limit: int) -> list[str]:
        """The fewest layers whose return to float32 reaches the target, or `limit` of them if none do."""
        if limit < 1:
            return []
        size = -(-len(layers) // GROUPS)
        groups = [layers[i : i + size] for i in range(0, len(layers), size)]
        groups.sort(key=lambda group: self.noise(group, 2))
        ranked = [name for group in groups for name in group]
        low, high = 1, limit
        while low < high:
            middle = (low + high) // 2
            if self.noise(layer for layer in layers if layer not in ranked[:middle]) >= target:
                high = middle
            else:
                low = middle + 1
        return ranked[:high]


def _judged(graph: Graph) -> list[str]:
    """Outputs, or what they are decided by: neither boxes, which come and go, nor classes have a signal to noise."""
    inside = {node.name for node in decoding(graph)}
    maps = [
        name
        for node in graph.nodes
        if node.name in inside
        for name in graph.floats(node.input)
        if name in graph.producers and graph.producers[name].name not in inside
    ]
    judged = list(dict.fromkeys(maps)) or graph.floats(graph.outputs) or _logits(graph)
    if not judged:
        raise ValueError(f'{graph.path} must give float32 numbers, or what is made of them, but gives neither.')
    return judged


def _logits(graph: Graph) -> list[str]:
    """What outputs of whole numbers are made of: the last float tensors before them that are no mere form of others."""
    found: dict[str, None] = {}
    queue, seen = list(graph.outputs), set()
    while queue:
        name = queue.pop()
        node = graph.producers.get(name)
        if node is None or name in seen or node.op_type in SHAPES:
            continue
        seen.add(name)
        if graph.floats([name]) and node.op_type not in MOVERS and node.op_type not in GROWING:
            found[name] = None
        else:
            queue += node.input
    return list(found)
