"""deploy.quantize: 8-bit integers in standard operators, and float32 for the layers that spoil the outputs."""

import errno
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('onnxruntime')

import onnx
from onnx_files import constants, types, written

from backbones.deploy.precision import read
from backbones.deploy.quantize import QuantizeReport, _Trial, quantize
from backbones.deploy.verify import Disagreement, session

RANDOM = np.random.default_rng(0)
PICTURES = RANDOM.standard_normal((12, 3, 16, 20)).astype(np.float32)
TEXT = """g (float[n, 3, h, w] x) => (float[n, 5] y) {
    a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w1, b1) r = Relu(a)
    c = Conv <pads = [1, 1, 1, 1]> (r, w2, b2) s = Relu(c)
    d = Conv <group = 8, pads = [1, 1, 1, 1]> (s, w3) t = Relu(d)
    m = ReduceMean <keepdims = 0> (t, axes) y = Gemm <transB = 1> (m, w4, b4) }"""


def weights(outlier: float = 1.0) -> dict[str, Any]:
    """Of `TEXT`; the first map between the first two layers is `outlier` times as large, and weighs as much less."""
    random = np.random.default_rng(1)
    shapes = {'w1': (8, 3, 3, 3), 'w2': (8, 8, 3, 3), 'w3': (8, 1, 3, 3), 'w4': (5, 8), 'b1': 8, 'b2': 8, 'b4': 5}
    found: dict[str, Any] = {name: random.standard_normal(shape) / 3 for name, shape in shapes.items()}
    found['w1'][0] *= outlier
    found['b1'][0] *= outlier
    found['w2'][:, 0] /= outlier
    return {**found, 'axes': np.array([2, 3])}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return written(tmp_path / 'model.onnx', TEXT, **weights())


def name_of(path: Path, output: str) -> str:
    """Name of the node that gives a tensor."""
    return read(path).producers[output].name


def scales(report: QuantizeReport) -> dict[str, np.ndarray]:
    """Node in the file -> its scale, of all that bring values or weights into integers and back."""
    values = constants(report.path)
    return {n.name: values[n.input[1]] for n in onnx.load(report.path).graph.node if n.op_type.endswith('izeLinear')}


def test_file_holds_integers_in_standard_operators(model: Path, tmp_path: Path) -> None:
    report = quantize(model, tmp_path / 'int8.onnx', PICTURES)
    proto, values, kinds = onnx.load(report.path), constants(report.path), types(report.path)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [('', 18)]
    assert {node.domain for node in proto.graph.node} == {''}
    layers = [name_of(model, output) for output in 'acdy']
    assert (list(report.quantized), report.kept) == (layers, {})
    stored = {name: value for name, value in values.items() if value.dtype == np.int8 and value.ndim > 1}
    assert sorted(value.shape for value in stored.values()) == [(5, 8), (8, 1, 3, 3), (8, 3, 3, 3), (8, 8, 3, 3)]
    assert not any(value.dtype == np.float32 and value.ndim > 1 for value in values.values())
    assert {value.size for value in scales(report).values()} == {1, 5, 8}  # of tensors, and of each output channel
    zeros = [values[n.input[2]] for n in proto.graph.node if n.op_type.endswith('izeLinear') and len(n.input) > 2]
    assert zeros and all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    for node in proto.graph.node:
        if node.name in layers and len(node.input) > 2:
            assert values[node.input[2]].dtype == np.float32  # the bias
    assert kinds['x'] == kinds['y'] == onnx.TensorProto.FLOAT
    assert (report.pictures, report.samples) == (12, 4)
    assert report.snr == report.snr_before > 20 and report.reached
    assert report.changes == report.before
    (change,) = report.changes
    assert change.output == 'y' and 0 < change.error < 0.1 and change.cosine > 0.99
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert metadata['precision'] == 'int8'
    assert (report.size_before, report.size) == (model.stat().st_size, report.path.stat().st_size)


def test_any_size_still_runs_and_is_like_float32(model: Path, tmp_path: Path) -> None:
    report = quantize(model, tmp_path / 'int8.onnx', PICTURES, reduce_range=True)
    x = RANDOM.standard_normal((2, 3, 25, 13)).astype(np.float32)
    expected, given = (session(path).run(None, {'x': x})[0] for path in (model, report.path))
    assert np.abs(expected - given).max() <= 0.1 * np.abs(expected).max()


@pytest.mark.parametrize('outputs', [False, True])
def test_runs_in_openvino(outputs: bool, model: Path, tmp_path: Path) -> None:
    pytest.importorskip('openvino')
    report = quantize(model, tmp_path / 'int8.onnx', PICTURES, reduce_range=True, outputs=outputs)
    assert set(report.here) == {'onnxruntime', 'openvino'}
    assert all(abs(found - report.snr) < 6 for found in report.here.values())


def test_seven_bits(model: Path, tmp_path: Path) -> None:
    eight, seven = (
        quantize(model, tmp_path / f'{reduce}.onnx', PICTURES, reduce_range=reduce) for reduce in (False, True)
    )
    largest = [
        max(np.abs(v.astype(int)).max() for v in constants(report.path).values() if v.dtype == np.int8 and v.ndim > 1)
        for report in (eight, seven)
    ]
    assert largest == [127, 64]
    assert eight.snr > seven.snr > 20


def test_outputs_in_integers_too(model: Path, tmp_path: Path) -> None:
    kinds = [
        [
            node.op_type
            for node in onnx.load(quantize(model, tmp_path / 'int8.onnx', PICTURES, outputs=o).path).graph.node
        ]
        for o in (False, True)
    ]
    assert [found.count('QuantizeLinear') for found in kinds] == [4, 8]


@pytest.mark.parametrize('method', ['entropy', 'percentile'])
def test_methods_cut_off_rare_values(method: Any, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rare = PICTURES.copy()
    rare[0, 0, 0, 0] = 50  # one of 11,520 values
    reports = (quantize(model, tmp_path / 'int8.onnx', rare, method=m, target=-100) for m in ('minmax', method))
    first, second = map(scales, reports)
    (name,) = {name for name in first if name.startswith('x_Quantize')}
    assert first[name] == pytest.approx(50 / 127, rel=0.01)
    assert second[name] < first[name] / 2
    assert not capsys.readouterr().out


# What stays float32


def test_layer_that_spoils_the_outputs_stays(tmp_path: Path) -> None:
    """One scale for all maps leaves nothing of those that are a thousandth of the first."""
    model = written(tmp_path / 'model.onnx', TEXT, **weights(outlier=1000))
    report = quantize(model, tmp_path / 'int8.onnx', PICTURES)
    assert report.kept == {name_of(model, 'c'): 'too much noise in the outputs'}
    assert set(report.quantized) == {name_of(model, output) for output in 'ady'}
    assert report.snr_before < 20 <= report.snr and report.reached
    assert report.before[0].error > 2 * report.changes[0].error
    none = quantize(model, tmp_path / 'none.onnx', PICTURES, most=0, least=0)
    assert (none.kept, none.reached, none.snr) == ({}, False, pytest.approx(report.snr_before))
    with pytest.raises(Disagreement, match=r'a signal to noise of 3 dB at least, but has 0\.9'):
        quantize(model, tmp_path / 'refused.onnx', PICTURES, most=0)
    assert not list(tmp_path.glob('*refused*'))
    strict = quantize(model, tmp_path / 'strict.onnx', PICTURES, target=200, most=0.5)
    assert (len(strict.kept), strict.reached) == (2, False)


def test_what_stays_by_rule(tmp_path: Path) -> None:
    text = """g (float[2, 8, 8] x) => (float[2, 8, 8] y) {
        q = MatMul(x, w1) k = MatMul(x, w2) z = Transpose <perm = [0, 2, 1]> (k) s = MatMul(q, z) p = Softmax(s)
        v = MatMul(p, x) f = MatMul(v, waves) y = MatMul(f, w3) }"""
    random = np.random.default_rng(0)
    matrices = {name: random.standard_normal((8, 8)) / 3 for name in ('w1', 'w2', 'w3')}
    waves = np.cos(np.outer(np.arange(8), np.arange(8)) * 2 * np.pi / 8)
    model = written(tmp_path / 'model.onnx', text, waves=waves, **matrices)
    x = random.standard_normal((2, 8, 8)).astype(np.float32)
    report = quantize(model, tmp_path / 'int8.onnx', [x], keep=[name_of(model, 'y')])
    product = 'a product of two values of the network'
    assert report.kept == {
        name_of(model, output): reason
        for output, reason in {'s': product, 'v': product, 'f': 'spectral transform', 'y': 'asked for'}.items()
    }
    assert set(report.quantized) == {name_of(model, 'q'), name_of(model, 'k')}


def test_maps_of_a_detector_are_judged(tmp_path: Path) -> None:
    """Boxes come and go with the least change, so the maps that they are made of say how much noise there is."""
    text = """g (float[1, 6, 4] x) => (float[3, 4] y) {
        m = MatMul(x, w) s = Slice(m, zero, one, last) p = Transpose <perm = [0, 2, 1]> (s)
        j = NonMaxSuppression(m, p, most) e = Slice(j, two, three, one) i = Squeeze(e, one)
        a = Squeeze(m, zero) y = Gather(a, i) }"""
    numbers = {'zero': [0], 'one': [1], 'two': [2], 'three': [3], 'last': [2], 'most': [3]}
    arrays = {name: np.array(value) for name, value in numbers.items()}
    model = written(tmp_path / 'model.onnx', text, w=np.eye(4), **arrays)
    i = np.arange(6)
    boxes = np.stack([1 + i / 1000, i, 2 + i / 1000, i + 0.5], -1)[None]  # side by side, of nearly the same score
    report = quantize(model, tmp_path / 'int8.onnx', [boxes])
    assert report.changes[0].cosine < 0.9  # other boxes are best
    assert report.snr > 30 and report.reached


@pytest.mark.parametrize(
    ('output', 'end'),
    [
        ('int64[n] k', 'k = ArgMax <axis = 1, keepdims = 0> (y)'),
        ('int64[n, 5, 1] k', 'u = Unsqueeze(y, last) p = Sigmoid(u) b = Greater(p, half) k = Cast <to = 7> (b)'),
    ],
    ids=['ArgMax', 'Greater'],
)
def test_logits_of_a_mask_are_judged(output: str, end: str, tmp_path: Path) -> None:
    """Classes are no signal: the same layers stay, for the same noise, as where the file gives the logits."""
    plain = written(tmp_path / 'plain.onnx', TEXT, **weights(outlier=1000))
    text = TEXT.replace('float[n, 5] y', output).replace('}', f'{end} }}')
    numbers = {'last': np.array([2]), 'half': np.float64(0.4)}
    mask = written(tmp_path / 'mask.onnx', text, **weights(outlier=1000), **numbers)
    expected, report = (quantize(path, tmp_path / 'int8.onnx', PICTURES, reduce_range=True) for path in (plain, mask))
    assert [change.output for change in report.changes] == ['k']
    assert report.kept == expected.kept and len(report.kept) == 1
    assert report.snr == pytest.approx(expected.snr)
    assert report.snr_before == pytest.approx(expected.snr_before)
    assert report.here == pytest.approx(expected.here, abs=1)


def test_a_file_that_gives_nothing_to_judge_is_refused(tmp_path: Path) -> None:
    text = 'g (float[2, 8] x) => (int64[2] y) { a = MatMul(x, w) y = ArgMax <axis = 1, keepdims = 0> (x) }'
    model = written(tmp_path / 'model.onnx', text, w=np.eye(8))
    with pytest.raises(ValueError, match=r'model\.onnx must give float32 numbers, or what is made of them'):
        quantize(model, tmp_path / 'int8.onnx', [np.ones((2, 8), np.float32)])


# Pictures


def test_batches_are_gone_through_once(model: Path, tmp_path: Path) -> None:
    seen = []

    def pictures():
        for i in range(0, 12, 2):
            seen.append(i)
            yield PICTURES[i : i + 2]

    report = quantize(model, tmp_path / 'int8.onnx', pictures())
    assert (seen, report.pictures) == ([0, 2, 4, 6, 8, 10], 12)
    again = quantize(model, tmp_path / 'again.onnx', PICTURES, samples=PICTURES[:8:2])
    assert all(np.array_equal(a, b) for a, b in zip(scales(report).values(), scales(again).values(), strict=True))


@pytest.mark.parametrize('once', [False, True])
def test_measured_on_pictures_from_first_to_last(once: bool, model: Path, tmp_path: Path) -> None:
    """Neighbours in a folder are often of one class."""
    louder = PICTURES * np.arange(1, 13, dtype=np.float32)[:, None, None, None]
    wanted = quantize(model, tmp_path / 'wanted.onnx', louder, samples=louder[::3])
    own = quantize(model, tmp_path / 'own.onnx', iter(louder) if once else louder)
    of_others = quantize(model, tmp_path / 'others.onnx', louder, samples=iter(louder) if once else louder)
    for report in (own, of_others):
        assert (report.pictures, report.samples) == (12, 4)
        assert (report.snr, report.changes) == (wanted.snr, wanted.changes)


def test_layers_are_tried_on_pictures_from_first_to_last(tmp_path: Path) -> None:
    """The first two of four show nothing at all."""
    numbers = {name: value * (name[0] != 'b') for name, value in weights(outlier=1000).items()}
    model = written(tmp_path / 'model.onnx', TEXT, **numbers)
    dark = np.concatenate([np.zeros_like(PICTURES[:2]), PICTURES[:2]])
    report = quantize(model, tmp_path / 'int8.onnx', PICTURES, samples=dark)
    assert report.kept == {name_of(model, 'c'): 'too much noise in the outputs'}


@pytest.mark.parametrize('method', ['minmax', 'entropy', 'percentile'])
def test_pictures_of_different_sizes(method: Any, tmp_path: Path) -> None:
    text = """g (float[n, 3, h, w] x) => (float[n, 8, a, b] y) {
        r = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w1) y = Relu(r) }"""
    model = written(tmp_path / 'model.onnx', text, w1=weights()['w1'])
    batches = [PICTURES[:2], PICTURES[2:3, :, :9], PICTURES[3:4, ..., :7]]
    report = quantize(model, tmp_path / 'int8.onnx', batches, method=method)
    assert (report.pictures, report.samples) == (4, 4)
    (change,) = report.changes
    assert change.top1 is None and 0 < change.error < 0.1 and change.cosine > 0.99


def test_logging_is_as_before(model: Path, tmp_path: Path) -> None:
    quantize(model, tmp_path / 'int8.onnx', PICTURES)
    assert logging.root.manager.disable == logging.NOTSET


# Mistakes


@pytest.mark.parametrize('moment', ['noise', 'here'])
def test_nothing_is_left_of_a_file_that_cannot_be_measured(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, target = written(tmp_path / 'model.onnx', TEXT, **weights(outlier=1000)), tmp_path / 'int8.onnx'
    target.write_bytes(b'an older file')
    measured = getattr(_Trial, moment)

    def fail(trial: _Trial, *args: Any) -> Any:
        if any(path.stat().st_size > 100 for path in tmp_path.glob('.int8.*')) or target.stat().st_size > 100:
            raise Disagreement('OpenVINO cannot run it')  # the new file is written
        return measured(trial, *args)

    monkeypatch.setattr(_Trial, moment, fail)
    with pytest.raises(Disagreement, match='OpenVINO cannot run it'):
        quantize(model, target, PICTURES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['int8.onnx', 'model.onnx']
    assert target.read_bytes() == b'an older file'


def test_a_full_disk_is_said_with_the_file(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = onnx.save

    def full(proto: onnx.ModelProto, path: Any, **kwargs: Any) -> None:
        if Path(path).parent == tmp_path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(proto, path, **kwargs)

    monkeypatch.setattr(onnx, 'save', full)
    with pytest.raises(OSError, match=r'/int8\.onnx cannot be written: No space left on device\.'):
        quantize(model, tmp_path / 'int8.onnx', PICTURES)
    assert [path.name for path in tmp_path.iterdir()] == ['model.onnx']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'path_in': 'nothing.onnx'}, 'path_in must name an ONNX file that exists'),
        ({'path_out': 'nowhere/int8.onnx'}, 'path_out must name a file in a folder that exists'),
        ({'path_out': 'model.onnx'}, 'path_out must be another file than path_in'),
        ({'calibration': iter([])}, 'calibration must hold at least one picture'),
        ({'calibration': PICTURES[:, :2]}, r"calibration must hold batches of shape \('any', 3, 'any', 'any'\)"),
        ({'samples': PICTURES[:0]}, 'samples must hold at least one picture'),
        ({'method': 'average'}, "method must be one of minmax, entropy, percentile, but got 'average'"),
        ({'most': 2.0}, r'most must lie in \[0, 1\]'),
        ({'keep': ['Konv']}, "there is no 'Konv'"),
        ({'keep': ['Conv', 'Gemm']}, 'must hold layers with constant weights'),
    ],
)
def test_wrong_arguments(change: dict, message: str, model: Path, tmp_path: Path) -> None:
    arguments = {'path_in': 'model.onnx', 'path_out': 'int8.onnx', 'calibration': PICTURES, **change}
    paths = {key: tmp_path / arguments.pop(key) for key in ('path_in', 'path_out')}
    with pytest.raises(ValueError, match=message):
        quantize(**paths, **arguments)
    assert [path.name for path in tmp_path.iterdir()] == ['model.onnx']
