"""deploy.half.to_half: float16 where it is right, one type for each tensor, and a reason for what stays float32."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

import onnx
import torch
from onnx import TensorProto
from onnx_files import types, written
from torch import nn

from backbones.deploy import export_onnx, half, precision
from backbones.deploy.half import to_half
from backbones.deploy.precision import Spread, compare, read, spaced
from backbones.deploy.sensitive import is_wave, rules
from backbones.deploy.verify import Disagreement, session
from backbones.layers import LIF
from registry import facts, narrow, shape, smallest

THRESHOLDS = {'GreaterOrEqual', 'Greater', 'Less', 'LessOrEqual'}
PICTURES = np.random.default_rng(0).standard_normal((4, 3, 32, 40)).astype(np.float32)


class Small(nn.Module):
    """A classifier with a norm and an attention."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 4, stride=4), nn.LayerNorm(16)
        self.qkv, self.head = nn.Linear(16, 48), nn.Linear(16, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).flatten(2).mT  # B N C
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        return self.head((x + (q @ k.mT / 4).softmax(-1) @ v).mean(1))


class Spiking(nn.Module):
    """A convolution before and behind a layer of neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.neuron = nn.Conv2d(3, 8, 3, padding=1, stride=2), LIF(num_steps=2)
        self.second, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.neuron(self.first(torch.cat([x, x * 2])))).relu().mean((2, 3))
        return self.head(x.unflatten(0, (2, -1)).mean(0))


class Matrix(nn.Module):
    """A layer whose weight is stored as pictures, more numbers than the exporter folds of other constants.

    Args:
        tied: Whether it is used as pictures too.
    """

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.weight, self.tied = nn.Parameter(torch.zeros(1100, 3, 32, 40)), tied

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.flatten(1) @ self.weight.flatten(1).mT
        return y + nn.functional.conv2d(x, self.weight).flatten(1) if self.tied else y


@pytest.fixture(scope='module')
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(Small(), tmp_path_factory.mktemp('small') / 'model.onnx')


def exported(model: nn.Module, path: Path) -> Path:
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return export_onnx(model.eval(), path, input_size=(3, 32, 40), dynamic='batch').path


def check_casts(path: Path) -> int:
    """No tensor is cast to one type twice, no cast is cast again; how many casts between floats there are."""
    kinds, nodes = types(path), onnx.load(path).graph.node
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16)
    casts = [n for n in nodes if n.op_type == 'Cast' and kinds[n.input[0]] in floats and kinds[n.output[0]] in floats]
    assert len({(node.input[0], kinds[node.output[0]]) for node in casts}) == len(casts)
    assert {node.output[0] for node in casts}.isdisjoint(node.input[0] for node in casts)
    assert all(kinds[node.input[0]] != kinds[node.output[0]] for node in casts)
    return len(casts)


# What comes out


def test_file_is_half_as_large_and_gives_the_same(small: Path, tmp_path: Path) -> None:
    report = to_half(small, tmp_path / 'half.onnx', PICTURES)
    kinds, before = types(report.path), read(small)
    nodes = {node.name: node for node in onnx.load(report.path).graph.node}
    assert check_casts(report.path) == report.casts
    layers = [node for node in before.nodes if node.op_type in ('Conv', 'Gemm', 'MatMul')]
    assert len(layers) >= 4
    for layer in layers:
        assert {kinds[name] for name in nodes[layer.name].input} == {TensorProto.FLOAT16}
    kept = {node.op_type for node in before.nodes if node.name in report.kept}
    assert kept >= {'LayerNormalization', 'Softmax', 'ReduceMean'}
    assert not kept & {'Conv', 'MatMul', 'Gemm'}
    for name in report.kept:
        floats = [kinds[n] for n in nodes[name].output if kinds.get(n) in (TensorProto.FLOAT, TensorProto.FLOAT16)]
        assert set(floats) <= {TensorProto.FLOAT}
    assert kinds['input'] == kinds['output'] == TensorProto.FLOAT
    (change,) = report.changes
    assert (change.output, change.top1) == ('output', 1.0)
    assert 0 < change.error < 0.01 and change.cosine > 0.9999
    assert report.cosine > 0.9999 and report.headroom > 8 and report.half > len(layers)
    weights = [before.constants[name].nbytes for layer in layers for name in layer.input if name in before.constants]
    assert report.size_before - report.size >= sum(weights) / 2 - 2000  # casts take room too
    x = PICTURES[:3]
    first, second = (session(path).run(None, {'input': x})[0] for path in (small, report.path))
    assert np.abs(first - second).max() <= 0.01 * np.abs(first).max()


def test_metadata_stays_and_says_the_precision(small: Path, tmp_path: Path) -> None:
    before, after = (
        {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        for path in (small, to_half(small, tmp_path / 'half.onnx', PICTURES).path)
    )
    assert before.pop('precision', None) is None
    assert after == {**before, 'precision': 'float16'}


def test_input_and_output_in_float16(small: Path, tmp_path: Path) -> None:
    report = to_half(small, tmp_path / 'half.onnx', PICTURES, keep_io=False)
    kinds = types(report.path)
    assert kinds['input'] == kinds['output'] == TensorProto.FLOAT16
    assert check_casts(report.path) == report.casts
    given = session(report.path).run(None, {'input': PICTURES.astype(np.float16)})[0]
    assert given.dtype == np.float16
    assert report.changes[0].error < 0.01


def test_runs_in_openvino(small: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip('openvino')
    path = to_half(small, tmp_path / 'half.onnx', PICTURES).path
    run = openvino.Core().compile_model(path, 'CPU', {'INFERENCE_NUM_THREADS': 1})
    expected = session(small).run(None, {'input': PICTURES})[0]
    assert np.abs(run({'input': PICTURES})[0] - expected).max() <= 0.01 * np.abs(expected).max()


def test_nodes_that_are_asked_for_stay(small: Path, tmp_path: Path) -> None:
    report = to_half(small, tmp_path / 'half.onnx', PICTURES, keep=['Conv'])
    (conv,) = (node.name for node in read(small).nodes if node.op_type == 'Conv')
    assert report.kept[conv] == 'asked for'
    (node,) = (node for node in onnx.load(report.path).graph.node if node.name == conv)
    kinds = types(report.path)
    assert {kinds[name] for name in node.input} == {TensorProto.FLOAT}


def test_a_large_weight_in_another_form_is_a_constant(tmp_path: Path) -> None:
    path = exported(Matrix(tied=False), tmp_path / 'model.onnx')
    graph = read(path)
    large = [value.shape for value in graph.constants.values() if value.size > 1000]
    assert sorted(large[0]) == [1100, 3 * 32 * 40] and len(large) == 1
    report = to_half(path, tmp_path / 'half.onnx', PICTURES)
    assert not report.kept and report.size < 0.51 * report.size_before
    (product,) = (node for node in graph.nodes if node.op_type in ('Gemm', 'MatMul'))
    assert not set(product.input).isdisjoint(graph.constants)


def test_a_large_weight_in_two_forms_is_stored_once(tmp_path: Path) -> None:
    path = exported(Matrix(tied=True), tmp_path / 'model.onnx')
    assert path.stat().st_size < 1.01 * 4 * 1100 * 3 * 32 * 40


# By rule

MATRIX = np.random.default_rng(1).standard_normal((8, 8)) / 3
WAVES = np.cos(np.outer(np.arange(8), np.arange(8)) * 2 * np.pi / 8) / 3
RULES = {
    'a norm in its parts': (
        'g (float[2, 8] x) => (float[2, 8] y) { a = MatMul(x, w) m = ReduceMean(a, last) d = Sub(a, m) s = Mul(d, d) '
        'v = ReduceMean(s, last) e = Add(v, eps) r = Sqrt(e) q = Reciprocal(r) n = Mul(d, q) y = MatMul(n, w) }',
        {'w': MATRIX, 'last': np.array([1]), 'eps': np.float64(1e-3)},
        dict.fromkeys('dsverqn', 'norm') | {'m': 'reduction'},
    ),
    'a neuron': (
        'g (float[2, 8] x) => (float[2, 8] y) { a = MatMul(x, w) h = Div(a, two) t = Sub(h, one) b = Greater(t, zero) '
        's = Cast <to = 1> (b) y = MatMul(s, w) }',
        {'w': MATRIX, 'two': np.float64(2), 'one': np.float64(0.1), 'zero': np.float64(0)},
        dict.fromkeys('htbs', 'spiking neuron or threshold'),
    ),
    'a charge of all steps at once': (
        'g (float[4, 9] x) => (float[4, 9] y) { a = MatMul(time, x) h = Add(a, one) b = GreaterOrEqual(h, one) '
        'y = Cast <to = 1> (b) }',
        {'time': np.tril(np.ones((4, 4))), 'one': np.float64(0.1)},
        dict.fromkeys('ahby', 'spiking neuron or threshold'),
    ),
    'a transform by a table': (
        'g (float[2, 8] x) => (float[2, 8] y) { a = MatMul(x, w) f = MatMul(a, waves) y = MatMul(f, w) }',
        {'w': MATRIX, 'waves': WAVES},
        {'f': 'spectral transform'},
    ),
    'a transform by a table made of the shape': (
        'g (float[2, n] x) => (float[2, n] y) { size = Shape <start = 1, end = 2> (x) n = Squeeze(size) '
        'i = Range(zero, n, step) c = Cast <to = 1> (i) r = Reshape(c, column) o = Mul(r, c) w = Cos(o) '
        'p = Mul(w, third) k = Relu(x) y = MatMul(k, p) }',
        {'zero': np.array(0), 'step': np.array(1), 'column': np.array([-1, 1]), 'third': np.float64(0.3)},
        dict.fromkeys('crowp', 'made of the shape alone') | {'y': 'spectral transform'},
    ),
    'boxes': (
        'g (float[1, 6, 4] x) => (float[k, 4] y) { m = Relu(x) a = Reshape(m, rows) p = Transpose <perm = [1, 0]> (a) '
        'f = Slice(p, zero, one) b = Reshape(a, boxes) s = Reshape(f, scores) t = Sigmoid(s) '
        'j = NonMaxSuppression(b, t, most) e = Slice(j, two, three, one) i = Squeeze(e, one) y = Gather(a, i) }',
        {
            'rows': np.array([6, 4]),
            'boxes': np.array([1, 6, 4]),
            'scores': np.array([1, 1, 6]),
            'most': np.array([3]),
            'zero': np.array([0]),
            'one': np.array([1]),
            'two': np.array([2]),
            'three': np.array([3]),
        },
        dict.fromkeys('mapfbstjy', 'decoding of boxes'),
    ),
    'a division': (
        'g (float[2, 8] x) => (float[2, 8] y) { a = MatMul(x, w) e = Exp(a) d = Div(a, e) y = Div(d, c) }',
        {'w': MATRIX, 'c': np.float64(2)},
        {'e': 'exponential, power or root', 'd': 'division'},
    ),
}


@pytest.mark.parametrize('case', RULES.values(), ids=RULES.keys())
def test_rules(case: tuple, tmp_path: Path) -> None:
    text, constants, expected = case
    graph = read(written(tmp_path / 'model.onnx', text, **constants))
    found = rules(graph)
    assert {node.output[0]: found[node.name] for node in graph.nodes if node.name in found} == expected
    sides = [8 if side is None else side for side in graph.shape]
    x = np.random.default_rng(2).random(sides, np.float32)
    report = to_half(graph.path, tmp_path / 'half.onnx', [x])
    kinds = types(report.path)
    assert all(kinds[name] != TensorProto.FLOAT16 for name in expected)
    assert check_casts(report.path) == report.casts
    assert report.changes[0].error < 0.01


def test_tables_of_waves_are_told_from_weights() -> None:
    position = np.arange(11)
    for frequency in (np.arange(11), np.arange(6)):
        angle = 2 * np.pi * np.outer(position, frequency) / 11
        for table in (
            np.cos(angle),
            np.sin(angle),
            np.concatenate([np.cos(angle), -np.sin(angle)], 1),
            np.cos(angle).T,
        ):
            assert is_wave(table.astype(np.float32))
    assert is_wave(np.cos(np.pi * np.outer(2 * position + 1, position) / 22))  # of a cosine transform
    generator = np.random.default_rng(0)
    assert not any(is_wave(generator.standard_normal((n, 6))) for n in (4, 6, 50))
    assert not is_wave(np.eye(8))


def test_spiking_network(tmp_path: Path) -> None:
    report = to_half(exported(Spiking(), tmp_path / 'model.onnx'), tmp_path / 'half.onnx', PICTURES)
    kinds, nodes = types(report.path), onnx.load(report.path).graph.node
    compared = [kinds[name] for node in nodes if node.op_type in THRESHOLDS for name in node.input]
    assert len(compared) >= 4 and set(compared) == {TensorProto.FLOAT}
    assert {kinds[name] for node in nodes if node.op_type == 'Conv' for name in node.input} == {TensorProto.FLOAT16}
    # one cast in front of the neurons and one behind for all steps
    (first, second) = (node for node in nodes if node.op_type == 'Conv')
    assert [n.op_type for n in nodes if first.output[0] in n.input] == ['Cast']
    assert [n.op_type for n in nodes if second.input[0] in n.output] == ['Cast']
    assert report.changes[0].top1 is not None and report.changes[0].cosine > 0.99


# By measurement


def test_values_near_the_largest_stay(tmp_path: Path) -> None:
    text = 'g (float[1, 8] x) => (float[1, 8] y) { a = MatMul(x, w) b = Mul(a, c) y = Mul(b, d) }'
    path = written(tmp_path / 'model.onnx', text, w=MATRIX, c=np.float64(3e4), d=np.float64(1e-3))
    report = to_half(path, tmp_path / 'half.onnx', [np.ones((1, 8), np.float32)])
    by_output = {node.output[0]: node.name for node in read(path).nodes}
    assert 'headroom' in report.kept[by_output['b']]
    assert 'headroom' in report.kept[by_output['y']]  # which takes them
    assert by_output['a'] not in report.kept
    assert report.headroom >= 8
    assert report.measured[by_output['b']].largest == pytest.approx(3e4 * np.abs(MATRIX.sum(0)).max(), rel=1e-4)
    lenient = to_half(path, tmp_path / 'half.onnx', [np.ones((1, 8), np.float32) / 10], least_headroom=1)
    assert by_output['b'] not in lenient.kept


def test_what_rounding_would_ruin_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small differences of large values, which come out as nothing but rounding."""
    text = 'g (float[2, 8] x) => (float[2, 8] y) { a = MatMul(x, w) b = Add(a, c) d = Sub(b, c) y = MatMul(d, w) }'
    path = written(tmp_path / 'model.onnx', text, w=MATRIX, c=np.float64(1000))
    x = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32) / 4
    report = to_half(path, tmp_path / 'half.onnx', [x])
    by_output = {node.output[0]: node.name for node in read(path).nodes}
    assert report.kept[by_output['d']].startswith('cosine similarity')
    assert report.kept[by_output['b']] == f'feeds {by_output["d"]}, which rounded values change'
    assert {by_output['a'], by_output['y']}.isdisjoint(report.kept)
    assert report.changes[0].error < 0.01
    blind = to_half(path, tmp_path / 'half.onnx', [x], least_cosine=1e-9)
    assert not blind.kept
    assert blind.changes[0].error > 0.1
    monkeypatch.setattr(half, 'ALIKE', 0.9)  # it is 0.71
    with pytest.raises(Disagreement, match=r"Output 'y' .* must be like that of the float32 file, but cosine"):
        to_half(path, tmp_path / 'refused.onnx', [x], least_cosine=1e-9)
    assert not list(tmp_path.glob('*refused*'))


@pytest.mark.parametrize('constant', [1e9, 1e-12])
def test_constants_out_of_range_stay(constant: float, tmp_path: Path) -> None:
    text = 'g (float[1, 8] x) => (float[1, 8] y) { a = MatMul(x, w) b = Max(a, c) y = Min(b, d) }'
    path = written(tmp_path / 'model.onnx', text, w=MATRIX, c=-np.float64(constant), d=np.float64(5))
    report = to_half(path, tmp_path / 'half.onnx', [np.ones((1, 8), np.float32)])
    (name,) = (node.name for node in read(path).nodes if node.output[0] == 'b')
    assert report.kept[name].startswith(f'constants of up to {constant:.3g}')
    assert report.changes[0].error < 0.01


# Pictures


def test_places_are_evenly_spaced() -> None:
    assert [spaced(n, 4) for n in (3, 4, 8, 11)] == [[0, 1, 2], [0, 1, 2, 3], [0, 2, 4, 6], [0, 2, 5, 8]]


@pytest.mark.parametrize('number', [1, 4, 5, 11, 16, 17, 64, 100, 1001])
def test_a_stream_of_any_length_gives_batches_from_first_to_last(number: int) -> None:
    spread = Spread(4)
    for i in range(number):
        spread.add(np.array(i))
        assert len(spread._held) < 16
    places = [int(x) for x in spread.chosen()]
    assert len(places) == min(number, 4)
    wanted = spaced(number, 4)
    assert all(abs(a - b) <= number / 8 for a, b in zip(places, wanted, strict=True))
    assert number >= 16 or places == wanted


@pytest.mark.parametrize('once', [False, True])
def test_measured_on_pictures_from_first_to_last(once: bool, tmp_path: Path) -> None:
    """Neighbours in a folder are often of one class."""
    path = written(tmp_path / 'model.onnx', 'g (float[n, 8] x) => (float[n, 8] y) { y = MatMul(x, w) }', w=np.eye(8))
    batches = [np.full((2, 8), i, np.float32) for i in range(16)]
    report = to_half(path, tmp_path / 'half.onnx', iter(batches) if once else batches, most=4)
    assert report.pictures == 4 * 2
    assert [values.largest for values in report.measured.values()] == [12]


def test_pictures_of_different_sizes(tmp_path: Path) -> None:
    text = """g (float[n, 3, h, w] x) => (float[n, 5, h, w] y, float[n, 5] z) {
        y = Conv <pads = [1, 1, 1, 1]> (x, k) g = GlobalAveragePool(y) z = Flatten(g) }"""
    path = written(tmp_path / 'model.onnx', text, k=np.random.default_rng(1).standard_normal((5, 3, 3, 3)))
    batches = [PICTURES[:2], PICTURES[2:3, :, :9], PICTURES[3:, ..., :7]]
    report = to_half(path, tmp_path / 'half.onnx', batches)
    assert report.pictures == 4
    assert [(change.output, change.top1) for change in report.changes] == [('y', None), ('z', 1.0)]
    assert all(0 < change.error < 0.01 and change.cosine > 0.9999 for change in report.changes)


def test_top1_counts_pictures_and_not_batches() -> None:
    a = np.eye(4, dtype=np.float32)
    b = a[:, [1, 0, 2, 3]]
    (change,) = compare(['y'], [[a[:3]], [a[3:]]], [[b[:3]], [b[3:]]])
    assert change.top1 == 0.5


# Mistakes


@pytest.mark.parametrize('moment', ['save', 'rename'])
def test_a_full_disk_is_said_with_the_file(
    moment: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / 'half.onnx'
    target.write_bytes(b'an older file')

    def full(*args) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*((onnx, 'save') if moment == 'save' else (precision.os, 'replace')), full)
    with pytest.raises(OSError, match=r'/half\.onnx cannot be written: No space left on device\.'):
        to_half(small, target, PICTURES)
    assert [path.name for path in tmp_path.iterdir()] == ['half.onnx']
    assert target.read_bytes() == b'an older file'


def test_a_file_that_overflows_is_not_left(tmp_path: Path) -> None:
    path = written(tmp_path / 'model.onnx', 'g (float[1, 8] x) => (float[1, 8] y) { y = Mul(x, c) }', c=np.float64(1e5))
    target = tmp_path / 'half.onnx'
    target.write_bytes(b'an older file')
    with pytest.raises(Disagreement, match=r"Output 'y' .* must be as finite as in float32"):
        to_half(path, target, [np.ones((1, 8), np.float32)], keep_io=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['half.onnx', 'model.onnx']
    assert target.read_bytes() == b'an older file'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'path_in': 'nothing.onnx'}, 'path_in must name an ONNX file that exists'),
        ({'path_out': 'nowhere/half.onnx'}, 'path_out must name a file in a folder that exists'),
        ({'path_out': 'model.onnx'}, 'path_out must be another file than path_in'),
        ({'samples': []}, 'samples must hold at least one picture'),
        ({'samples': PICTURES[..., :30]}, r"batches of shape \('any', 3, 32, 40\)"),
        ({'keep': ['Konv']}, "there is no 'Konv'"),
        ({'least_cosine': 2.0}, r'least_cosine must lie in \(0, 1\]'),
    ],
)
def test_wrong_arguments(change: dict, message: str, small: Path, tmp_path: Path) -> None:
    (tmp_path / 'model.onnx').write_bytes(small.read_bytes())
    arguments = {'path_in': 'model.onnx', 'path_out': 'half.onnx', 'samples': PICTURES, **change}
    paths = {key: tmp_path / arguments.pop(key) for key in ('path_in', 'path_out')}
    with pytest.raises(ValueError, match=message):
        to_half(**paths, **arguments)
    assert [path.name for path in tmp_path.iterdir()] == ['model.onnx']


def test_a_lowered_file_is_not_lowered_again(small: Path, tmp_path: Path) -> None:
    path = to_half(small, tmp_path / 'half.onnx', PICTURES).path
    with pytest.raises(ValueError, match='lower the precision of the float32 file'):
        to_half(path, tmp_path / 'again.onnx', PICTURES)


def test_boxes_are_compared_as_sets() -> None:
    dets = np.array([[[0, 0, 10, 10, 0.9], [50, 50, 90, 90, 0.8], [0, 0, 0, 0, 0]]], np.float32)
    labels = np.array([[0, 1, -1]])
    names = ['dets', 'labels']
    swapped = [dets[:, [1, 0, 2]], labels[:, [1, 0, 2]]]
    (change,) = compare(names, [[dets, labels]], [swapped])
    assert (change.boxes, change.error) == (1.0, 0.0)
    (change,) = compare(names, [[dets, labels]], [[dets, np.array([[0, 2, -1]])]])
    assert change.boxes == 0.5
    lower = dets.copy()
    lower[..., 4] = [[0.29, 0.31, 0]]  # across the border
    (change,) = compare(names, [[lower + [0, 0, 0, 0, 0.02], labels]], [[lower, labels]])
    assert change.boxes == 1.0
    nothing = [np.zeros_like(dets), np.full_like(labels, -1)]
    (change,) = compare(names, [[dets, labels]], [nothing])
    assert change.boxes == 0.0
    with pytest.raises(Disagreement, match=r"Output 'dets' .* but the same boxes: 0, where 0\.5 is the least"):
        half._check_alike([change])


def test_masks_are_compared_box_by_box() -> None:
    dets = np.array([[[0, 0, 10, 10, 0.9], [50, 50, 90, 90, 0.8], [0, 0, 0, 0, 0]]], np.float32)
    labels, masks = np.array([[0, 1, -1]]), np.random.default_rng(1).random((1, 3, 4, 4), np.float32)
    swapped = [x[:, [1, 0, 2]] for x in (dets, labels, masks)]
    boxes, change = compare(['dets', 'labels', 'masks'], [[dets, labels, masks]], [swapped])
    assert (boxes.output, boxes.boxes, change.output, change.boxes, change.error) == ('dets', 1.0, 'masks', None, 0.0)
    boxes, change = compare(['dets', 'labels', 'masks'], [[dets, labels, masks]], [[dets, labels, masks[:, [1, 0, 2]]]])
    assert boxes.error == 0.0 and change.error > 0.1


def test_class_numbers_are_compared_by_pixels() -> None:
    mask = np.array([[[7, 7], [1, 0]]])
    (change,) = compare(['mask'], [[mask]], [[np.array([[[7, 6], [1, 0]]])]])
    assert (change.pixels, change.error, change.cosine, change.top1) == (0.75, None, None, None)
    half._check_alike([change])
    with pytest.raises(Disagreement, match=r"Output 'mask' .* but the same pixels: 0\.25"):
        half._check_alike(compare(['mask'], [[mask]], [[np.array([[[7, 6], [6, 6]]])]]))


# Registered backbones


@pytest.mark.full
@pytest.mark.parametrize('name', smallest())
def test_every_family(name: str, tmp_path: Path) -> None:
    model, whole = narrow(name).eval(), shape(name, 2, (64, 64))
    dynamic = True if facts(name).any_size else 'batch'
    path = export_onnx(model, tmp_path / 'model.onnx', input_size=whole[-3:], dynamic=dynamic).path
    x = np.random.default_rng(0).standard_normal(whole).astype(np.float32)
    report = to_half(path, tmp_path / 'half.onnx', [x])
    assert check_casts(report.path) == report.casts
    assert report.half > 0
    assert report.changes[0].cosine > (0.9 if facts(name).num_steps else 0.999)  # a spike may move
