"""OpenVINO files (`model.xml` with `model.bin`) from an ONNX file, run and compared before they are allowed to exist.

What is compared is what `export_onnx` compares, with the ONNX file in ONNX Runtime as the measure: the outputs, the
maps of a detector's head and its boxes, and of a spiking network each layer with the spikes of the new file put into
the old one. The tensors inside are found by the names that `export_onnx` gives them.
"""

import importlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from .verify import SPIKES, Check, Disagreement, Thresholds, compare_detections, compare_tensors, session

__all__ = ['OpenVinoReport', 'compiled', 'export_openvino', 'put', 'reason', 'require', 'save', 'target']

EXTRA = re.compile(r'(score|delta)_s\d+')  # maps of a detector's head
SPIKE = re.compile(r'spikes_(\d+)')  # what neurons give, in the order of their calls
PROPOSALS = 'proposals'  # of a detector's first stage
PARTNERS = 0.9  # share of the boxes of a file with float16 weights that must be those of the ONNX file
TOLERANCE = {False: 1e-4, True: 1e-2}  # by half
MOVED = {False: SPIKES, True: 2e-2}  # share of a layer's spikes that may move, by half: weights of 11 bits move more


@dataclass(frozen=True)
class OpenVinoReport:
    """What was written and what was compared.

    Attributes:
        path: The file `.xml`; its weights lie beside it as `.bin`.
        kind: 'detector' if it gives `dets` and `labels`, 'segmentor' if it gives `logits` or a `mask`,
            'pyramid' if it gives maps by stride, else 'classifier'.
        outputs: Names of the outputs.
        size: Bytes of both files.
        dynamic: Names of the input's axes that are free, as the ONNX file has them.
        half: Whether the weights are kept in float16.
        version: Version of OpenVINO.
        checks: One entry per run and output.
    """

    path: Path
    kind: str
    outputs: tuple[str, ...]
    size: int
    dynamic: tuple[str, ...]
    half: bool
    version: str
    checks: list[Check]


class _Source:
    """The ONNX file as the measure: which tensors can be compared, and a way to run it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.proto = _load(path)
        graph = self.proto.graph
        self.names = tuple(output.name for output in graph.output)
        self.shape = tuple(dim.dim_param or dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim)
        inside = [name for node in graph.node for name in node.output if name not in self.names]
        self.extra = tuple(filter(EXTRA.fullmatch, inside))
        spikes = filter(SPIKE.fullmatch, inside)
        self.spikes = tuple(sorted(spikes, key=lambda name: int(name.rpartition('_')[2])))
        # rounding may decide about them, and all that follows hangs on them: the reference is given those of the file
        self.forced = self.spikes + ((PROPOSALS,) if PROPOSALS in inside else ())
        self.facts = {entry.key: _value(entry.value) for entry in self.proto.metadata_props}
        self.thresholds = _thresholds(self.proto) if {'dets', 'labels'} <= {*self.names} else None

    @property
    def kind(self) -> str:
        if self.thresholds is not None:
            return 'detector'
        if set(self.names) <= {'logits', 'mask'}:
            return 'segmentor'
        return 'pyramid' if all(name.startswith('feat_s') for name in self.names) else 'classifier'

    def runner(self) -> Callable[[np.ndarray, dict[str, np.ndarray]], dict[str, np.ndarray]]:
        """Input, and what is forced -> every tensor by its name, of what is forced the file's own values."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        for name in self.forced:
            for node in proto.graph.node:
                node.input[:] = [f'given_{name}' if used == name else used for used in node.input]
            proto.graph.input.append(onnx.helper.make_tensor_value_info(f'given_{name}', onnx.TensorProto.FLOAT, None))
        for name in (*self.extra, *self.forced):
            proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        run = session(proto.SerializeToString())
        names = [*self.names, *self.extra, *self.forced]

        def reference(x: np.ndarray, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            forced = {f'given_{name}': given[name] for name in self.forced}
            values: Any = run.run(names, {'input': x, **forced})
            return dict(zip(names, values, strict=True))

        return reference


def export_openvino(
    onnx_path: str | os.PathLike,
    path: str | os.PathLike,
    *,
    half: bool = False,
    check_sizes: Sequence[tuple[int, int]] | None = None,
    samples: Any = None,
    tolerance: float | None = None,
) -> OpenVinoReport:
    """Write a file of `export_onnx` as OpenVINO's own, and compare the two at the same inputs.

    Free axes stay free and the metadata goes along (`rt_info`, under `framework`). Both files are written beside their
    place and renamed when OpenVINO, computing in float32, gives what ONNX Runtime gives, at two batches and two sizes
    where these are free. The ONNX file is read by `openvino.Core` and not by `openvino.convert_model`, which writes the
    same graph but reports its use to the maker unless told otherwise.

    Args:
        onnx_path: The ONNX file.
        path: Where the `.xml` goes; the weights go beside it with the ending `.bin`. What is there is replaced.
        half: Keep the weights as float16, in half the bytes; OpenVINO computes in what its device prefers either way.
        check_sizes: (height, width) to compare at where they are free; two odd sizes if None.
        samples: Pictures (N, C, H, W) as the file takes them, an array or tensor, to compare at too.
        tolerance: Largest error of an output, relative to its largest value; 1e-4 if None, 1e-2 with `half`.

    Returns:
        What was written and compared.

    Raises:
        ValueError: An argument that cannot be, or, as `Disagreement`, outputs of the file that differ; then there is no
            file.
        ModuleNotFoundError: OpenVINO is not installed.
    """
    openvino = require('openvino')
    path = target(path)
    source = _Source(Path(onnx_path))
    limit = TOLERANCE[half] if tolerance is None else tolerance
    inputs = _inputs(source, check_sizes)
    if samples is not None:
        inputs += np.array_split(np.asarray(samples, dtype=np.float32), -(-len(samples) // 16))
    try:
        model = openvino.Core().read_model(os.fspath(onnx_path))
    except Exception as error:
        raise ValueError(f'OpenVINO cannot read {onnx_path}: {reason(error)}.') from error
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f'.{path.stem}.') as folder:
        part = Path(folder) / path.name
        save(model, part, half)
        del model
        checks = _compare(source, part, inputs, limit, half)
        size = put(part, path)
    free = tuple(axis for axis in source.shape if isinstance(axis, str))
    version = openvino.get_version().partition('-')[0]
    return OpenVinoReport(path, source.kind, source.names, size, free, half, version, checks)


def require(name: str) -> Any:
    """OpenVINO, or NNCF.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'OpenVINO files need {error.name}, which is not installed: pip install '
            f'{"backbones[openvino]" if name == "openvino" else name}.'
        ) from error


def save(model: Any, path: Path, half: bool) -> None:
    """Write a model's two files.

    Raises:
        OSError: They cannot be written, as on a full disk.
    """
    import openvino

    try:
        openvino.save_model(model, os.fspath(path), compress_to_fp16=half)
    except RuntimeError as error:
        raise OSError(f'{path} cannot be written whole, is the disk full? {reason(error)}') from error


def target(path: str | os.PathLike) -> Path:
    """The path, if files can be put there.

    Raises:
        ValueError: They cannot.
    """
    path = Path(path)
    if path.suffix != '.xml' or not path.parent.is_dir() or path.is_dir() or path.with_suffix('.bin').is_dir():
        raise ValueError(f'path must name a file that ends in .xml, in a folder that exists, but got {path}.')
    return path


def _load(path: Path) -> onnx.ModelProto:
    """The file, if it is one that can be compared."""
    if not path.is_file():
        raise ValueError(f'onnx_path must name an ONNX file, but there is no file {path}.')
    try:
        proto = onnx.load(path)
    except Exception as error:
        raise ValueError(f'onnx_path must name an ONNX file, but {path} cannot be read as one.') from error
    taken = [entry for entry in proto.graph.input if entry.name not in {t.name for t in proto.graph.initializer}]
    if [entry.name for entry in taken] != ['input'] or len(taken[0].type.tensor_type.shape.dim) < 3:
        raise ValueError(
            "onnx_path must name a file of export_onnx, with pictures as its only input, called 'input', but "
            f'{path} takes {", ".join(entry.name for entry in taken) or "nothing"}.'
        )
    return proto


def _value(text: str) -> Any:
    """Metadata is text as it is, or JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _thresholds(proto: onnx.ModelProto) -> Thresholds:
    """Where the graph cuts: the overlap of its NonMaxSuppression and the largest number that scores must exceed."""
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer if np.prod(t.dims) == 1}
    made_by = {name: node.op_type for node in proto.graph.node for name in node.output}
    overlap, scores = 1.0, [0.0]
    for node in proto.graph.node:
        if node.op_type == 'NonMaxSuppression' and node.input[3] in constants:
            overlap = float(constants[node.input[3]].item())
        if node.op_type == 'Greater' and node.input[1] in constants and made_by.get(node.input[0]) != 'Sub':
            scores.append(float(constants[node.input[1]].item()))  # a difference is a side, and no score
    return Thresholds(max(scores), overlap)


def _inputs(source: _Source, sizes: Sequence[tuple[int, int]] | None) -> list[np.ndarray]:
    """Random pictures: two batches and two sizes where these are free."""
    batch, *inner, height, width = source.shape
    own = source.facts.get('input_size') or (3, 224, 224)
    free = isinstance(height, str) or isinstance(width, str)
    if sizes is not None and not free:
        raise ValueError(f'check_sizes needs a file of any height and width, but {source.path} has fixed ones.')
    if not free:
        sizes = [(int(height), int(width))]
    elif sizes is None:
        tall, wide = own[-2:]
        sizes = [(max(33, tall * 3 // 5) | 1, max(33, wide * 4 // 5) | 1), (max(48, tall // 2), max(40, wide // 2))]
    batches = [1, 3] if isinstance(batch, str) else [batch]
    generator = np.random.default_rng(0)
    channels = [own[-3] if isinstance(axis, str) else axis for axis in inner]
    shapes = [
        (batches[i % len(batches)], *channels, *sizes[i % len(sizes)]) for i in range(max(len(batches), len(sizes)))
    ]
    noise = [generator.standard_normal(shape, dtype=np.float32) for shape in shapes]
    return [_with_boxes(source, x) for x in noise] if source.kind == 'detector' else [_scaled(source, x) for x in noise]


def _scaled(source: _Source, noise: np.ndarray) -> np.ndarray:
    """Noise of mean 0 and standard deviation 1 as a picture of the range that the file takes."""
    mean, std = source.facts.get('mean'), source.facts.get('std')
    if not source.facts.get('normalize') or not mean or not std:
        return noise
    return noise * np.reshape(std, (-1, 1, 1)).astype(np.float32) + np.reshape(mean, (-1, 1, 1)).astype(np.float32)


def _with_boxes(source: _Source, noise: np.ndarray) -> np.ndarray:
    """A picture with as much contrast as it takes until the detector finds something in it."""
    run = session(os.fspath(source.path))
    for contrast in (1, 2, 4, 8, 16):
        picture = _scaled(source, noise * np.float32(contrast))
        if (np.asarray(run.run(['labels'], {'input': picture})[0]) >= 0).any():
            return picture
    return _scaled(source, noise)


def _compare(source: _Source, path: Path, inputs: list[np.ndarray], limit: float, half: bool) -> list[Check]:
    """Run both files at all inputs.

    Raises:
        Disagreement: The new file does not run, or gives something else.
    """
    reference, inside = source.runner(), (*source.extra, *source.forced)
    runs = [compiled(path, (), source.names)]
    if inside:  # the file as it is, and with its inner tensors too, which may change how it is run
        runs.insert(0, compiled(path, inside, source.names + inside))
    checks = []
    for x in inputs:
        given = [run(x) for run in runs]
        expected = reference(x, given[0])
        moved = _moved(source, expected, given[0], MOVED[half]) if source.spikes else None
        # its own spikes and proposals decide what it gives, so they must be those that the reference was given
        final = given[0] if source.forced else given[-1]
        for name in (*source.extra, *source.names):
            values = given[0] if name in source.extra else final
            if source.thresholds is None or name in source.extra:
                checks.append(Check(x.shape, name, compare_tensors(expected[name], values[name]), None, moved))
            elif name != 'labels':
                error, boxes = _compare_boxes(name, expected, values, limit, source.thresholds, half)
                checks.append(Check(x.shape, name, error, boxes, moved))
    wrong = [check for check in checks if not check.error <= limit]  # a NaN is wrong too
    if wrong:
        worst = max(wrong, key=lambda check: check.error if np.isfinite(check.error) else np.inf)
        raise Disagreement(
            f'The OpenVINO file must agree with the ONNX file to {limit:g} of the largest value, but output '
            f'{worst.output!r} differs by {worst.error:.3g} at input shape {worst.shape} '
            f'({len(wrong)} of {len(checks)} outputs differ).'
        )
    return checks


def compiled(path: Path, inside: Sequence[str], names: Sequence[str]) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """The file on the CPU in float32, with tensors inside of it as further outputs: input -> outputs by name.

    Raises:
        Disagreement: It does not load or, later, does not run.
    """
    openvino = require('openvino')
    settings = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': torch.get_num_threads()}
    core = openvino.Core()
    try:
        model = core.read_model(os.fspath(path))
        for name in inside:
            model.add_outputs(name)
        compiled = core.compile_model(model, 'CPU', settings)
    except Exception as error:
        raise Disagreement(f'OpenVINO cannot load the file it wrote: {reason(error)}.') from error

    def run(x: np.ndarray) -> dict[str, np.ndarray]:
        try:
            found = compiled({'input': x})
        except Exception as error:
            raise Disagreement(f'OpenVINO cannot run the file on shape {x.shape}: {reason(error)}.') from error
        return {name: np.array(found[name]) for name in names}

    return run


def _moved(source: _Source, expected: dict[str, np.ndarray], given: dict[str, np.ndarray], share: float) -> float:
    """Largest share of a layer's spikes that the ONNX file, given those of the new file, would move.

    Raises:
        Disagreement: More differ than rounding can move; two are allowed in the smallest layer.
    """
    shares = [0.0]
    for name in source.spikes:
        count, size = int((expected[name] != given[name]).sum()), expected[name].size
        if count > max(2, share * size):
            raise Disagreement(
                'The neurons of the OpenVINO file must fire as those of the ONNX file for the same input but for '
                f'{share:g} of them, but {count} of {size} of {name!r} differ.'
            )
        shares.append(count / size)
    return max(shares)


def _compare_boxes(
    name: str,
    expected: dict[str, np.ndarray],
    given: dict[str, np.ndarray],
    limit: float,
    thresholds: Thresholds,
    half: bool,
) -> tuple[float, int]:
    """Largest error of boxes that belong together, or of their masks, and how many these are.

    Weights of 11 bits put some boxes across a threshold: of those of a `half` file, nine in ten must have a partner.
    """
    if name == 'dets' and not half:
        return compare_detections(expected, given, limit, thresholds)
    error, count, total = 0.0, 0, 0
    for i in range(len(expected['dets'])):
        gap = _gaps(*(side[key][i] for side in (expected, given) for key in ('dets', 'labels')))
        first, second = np.nonzero((gap <= limit) & (gap == gap.min(1, keepdims=True)))
        count, total = count + len(set(first.tolist())), total + int((expected['labels'][i] >= 0).sum())
        values = gap[first, second] if name == 'dets' else np.abs(expected[name][i][first] - given[name][i][second])
        error = max(error, float(values.max(initial=0)))
    return (error if count >= PARTNERS * total else 1.0), count


def _gaps(boxes: np.ndarray, labels: np.ndarray, others: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Largest difference (K, K) of each pair, corners relative to the largest; infinite for other or no labels."""
    scale = np.array([max(1.0, float(np.abs(boxes[:, :4]).max(initial=0)))] * 4 + [1.0])
    gap = (np.abs(boxes[:, None] - others[None]) / scale).max(-1)
    gap[(labels[:, None] != theirs[None]) | (labels[:, None] < 0)] = np.inf
    return gap


def put(part: Path, path: Path) -> int:
    """Both files in their place; gives their bytes."""
    size = 0
    for ending in ('.bin', '.xml'):  # who reads while this goes on finds weights for the graph
        file = part.with_suffix(ending)
        size += file.stat().st_size
        os.chmod(file, 0o644)
        os.replace(file, path.with_suffix(ending))
    return size


def reason(error: Exception) -> str:
    """The line that says most: OpenVINO's first lines name its own source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(('Exception from', 'Check '))]
    return (told or lines or [type(error).__name__])[0].rstrip('. ')
