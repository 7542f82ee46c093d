"""deploy.openvino: both files that were compared, or none."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')
pytest.importorskip('openvino')

import onnx
import openvino
import torch
from torch import nn

from backbones.deploy import export_onnx
from backbones.deploy import openvino as module
from backbones.deploy import openvino_int8 as module_int8
from backbones.deploy.openvino import export_openvino
from backbones.deploy.openvino_int8 import quantize_openvino
from backbones.deploy.verify import Disagreement, Thresholds, compare_tensors, session
from backbones.layers import LIF, Repeat, mean_steps
from registry import facts, make, shape, shortened, smallest

SIZE = (3, 96, 64)
ROOT = Path(__file__).parents[1]


class Small(nn.Module):
    """The least that is a classifier."""

    pretrained_cfg = {'architecture': 'small', 'mean': (0.5, 0.4, 0.3), 'std': (0.2, 0.3, 0.4), 'license': 'mit'}

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).relu().mean((2, 3)))


class Spiking(nn.Module):
    """Neurons between two convolutions, over two steps of the same picture."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
        self.repeat, self.fire = Repeat(num_steps=2), LIF(num_steps=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spikes = self.fire(3 * self.repeat(self.first(x)))
        return mean_steps(self.second(spikes), 2).mean((2, 3))


@pytest.fixture(scope='module')
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('onnx') / 'small.onnx'
    export_onnx(Small().eval(), path, input_size=SIZE, normalize=True, classes=[*'abcde'])
    return path


@pytest.fixture(scope='module')
def spiking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('onnx') / 'spiking.onnx'
    export_onnx(Spiking().eval(), path, input_size=SIZE, check=False)
    return path


@pytest.fixture(scope='module')
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip('mmdet')
    from test_detectors import make_detector

    path = tmp_path_factory.mktemp('onnx') / 'detector.onnx'
    model = make_detector(score_thr=0.07, nms={'type': 'nms', 'iou_threshold': 0.45})
    export_onnx(model, path, input_size=(3, 96, 128), normalize=True, check=False)
    return path


def run(path: Path, x: np.ndarray) -> dict[str, np.ndarray]:
    """What the file gives in OpenVINO, in float32."""
    core = openvino.Core()
    found = core.compile_model(core.read_model(path), 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})({'input': x})
    return {output.get_any_name(): value for output, value in found.items()}


@pytest.mark.parametrize('half', [False, True])
def test_free_axes_and_metadata_go_along(small: Path, half: bool, tmp_path: Path) -> None:
    report = export_openvino(small, tmp_path / 'model.xml', half=half)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['model.bin', 'model.xml']
    assert report.size == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert (report.kind, report.outputs, report.half) == ('classifier', ('output',), half)
    assert report.dynamic == ('batch', 'height', 'width')
    assert len({check.shape[-2:] for check in report.checks}) == len({check.shape[0] for check in report.checks}) == 2
    model = openvino.Core().read_model(report.path)
    assert str(model.inputs[0].partial_shape) == '[?,3,?,?]'
    written = {key: model.get_rt_info(['framework', key]).value for key in ('model', 'mean', 'classes', 'licence')}
    assert written == {
        'model': 'small',
        'mean': '[0.5, 0.4, 0.3]',
        'classes': '["a", "b", "c", "d", "e"]',
        'licence': 'mit',
    }
    for size in ((2, 3, 33, 47), (5, 3, 32, 32)):
        x = np.random.default_rng(0).random(size, np.float32)
        expected = session(small).run(None, {'input': x})[0]
        assert compare_tensors(expected, run(report.path, x)['output']) <= (1e-2 if half else 1e-5)
    kinds = {op.get_element_type().get_type_name() for op in model.get_ops() if op.get_type_name() == 'Constant'}
    assert ('f16' in kinds) is half
    assert str(tmp_path) not in report.path.read_text()


def test_one_shape(tmp_path: Path) -> None:
    export_onnx(Small().eval(), tmp_path / 'model.onnx', input_size=SIZE, dynamic=False, batch_size=2)
    report = export_openvino(tmp_path / 'model.onnx', tmp_path / 'model.xml')
    assert report.dynamic == ()
    assert [check.shape for check in report.checks] == [(2, *SIZE)]
    with pytest.raises(ValueError, match='check_sizes needs a file of any height and width'):
        export_openvino(tmp_path / 'model.onnx', tmp_path / 'model.xml', check_sizes=[(32, 32)])


# the smallest of all is enough by default: what differs between families was compared when the ONNX file was written
NAMES = sorted(smallest(), key=lambda name: facts(name).parameters)
NAMES = [pytest.param(name, marks=[pytest.mark.full] if rank else []) for rank, name in enumerate(NAMES)]


@pytest.mark.parametrize('name', NAMES)
def test_registered_classifier(name: str, tmp_path: Path) -> None:
    whole = shape(name, 1, (64, 64))
    export_onnx(
        shortened(make(name)), tmp_path / 'model.onnx', input_size=whole[-3:], batch_size=1, dynamic=False, check=False
    )
    report = export_openvino(tmp_path / 'model.onnx', tmp_path / 'model.xml')
    assert [(check.shape, check.output) for check in report.checks] == [(whole, 'output')]


def test_maps_keep_their_names(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [x * 2, nn.functional.avg_pool2d(x, 2)]

    export_onnx(Two().eval(), tmp_path / 'model.onnx', input_size=SIZE)
    report = export_openvino(tmp_path / 'model.onnx', tmp_path / 'model.xml', check_sizes=[(64, 34)])
    assert (report.kind, report.outputs) == ('pyramid', ('feat_s1', 'feat_s2'))
    assert {check.shape[-2:] for check in report.checks} == {(64, 34)}
    assert {*run(report.path, np.zeros((1, 3, 32, 32), 'f'))} == {'feat_s1', 'feat_s2'}


def test_samples_are_compared(small: Path, tmp_path: Path) -> None:
    report = export_openvino(small, tmp_path / 'model.xml', samples=torch.rand(20, 3, 40, 50))
    assert [check.shape for check in report.checks if check.shape[-2:] == (40, 50)] == [(10, 3, 40, 50)] * 2


@pytest.mark.parametrize('half', [False, True])
def test_spikes_of_the_file_are_put_into_the_reference(spiking: Path, half: bool, tmp_path: Path) -> None:
    report = export_openvino(spiking, tmp_path / 'model.xml', half=half)
    moved = [check.spikes for check in report.checks]
    assert None not in moved and max(moved) <= (2e-2 if half else 1e-3)
    assert {*run(report.path, np.zeros((1, 3, 32, 32), 'f'))} == {'output'}
    source = module._Source(spiking)
    x = np.random.default_rng(0).standard_normal((1, 3, 40, 40), np.float32)
    own = module.compiled(report.path, source.spikes, source.spikes)(x)
    assert source.spikes and 0.01 < own[source.spikes[0]].mean() < 0.99  # else nothing would be compared
    other = {name: 1 - value for name, value in own.items()}
    assert compare_tensors(*(source.runner()(x, spikes)['output'] for spikes in (own, other))) > 0.1
    with pytest.raises(Disagreement, match="of 'spikes_0' differ"):
        module._moved(source, source.runner()(x, other), other, 1e-3)


# A file that disagrees


@pytest.mark.parametrize('half', [False, True])
def test_what_disagrees_is_not_left(small: Path, half: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = openvino.save_model

    def wrong(model, path: str, **kwargs) -> None:
        for op in model.get_ops():
            if op.get_type_name() == 'Constant' and list(op.shape) == [8, 3, 3, 3]:
                op.output(0).replace(openvino.op.Constant(op.data * 1.2).output(0))
        save(model, path, **kwargs)

    for ending in ('xml', 'bin'):
        (tmp_path / f'model.{ending}').write_bytes(b'an older file')
    monkeypatch.setattr(openvino, 'save_model', wrong)
    with pytest.raises(Disagreement, match=r"output 'output' differs by .* at input shape"):
        export_openvino(small, tmp_path / 'model.xml', half=half)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict.fromkeys(
        ('model.bin', 'model.xml'), b'an older file'
    )


def test_a_failure_leaves_nothing(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(model, path: str, **kwargs) -> None:
        Path(path).write_text('half of it')
        raise OSError('no space left')

    monkeypatch.setattr(openvino, 'save_model', full)
    with pytest.raises(OSError, match='no space'):
        export_openvino(small, tmp_path / 'model.xml')
    assert not list(tmp_path.iterdir())


def test_wrong_arguments(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r'ends in \.xml'):
        export_openvino(small, tmp_path / 'model.bin')
    with pytest.raises(ValueError, match='in a folder that exists'):
        export_openvino(small, tmp_path / 'nowhere/model.xml')
    with pytest.raises(ValueError, match='there is no file'):
        export_openvino(tmp_path / 'nothing.onnx', tmp_path / 'model.xml')
    (tmp_path / 'text.onnx').write_text('no model')
    with pytest.raises(ValueError, match='cannot be read as one'):
        export_openvino(tmp_path / 'text.onnx', tmp_path / 'model.xml')
    node = onnx.helper.make_node('Add', ['a', 'b'], ['c'])
    a, b, c = (onnx.helper.make_tensor_value_info(name, 1, [1, 3, 8, 8]) for name in 'abc')
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], 'g', [a, b], [c])), tmp_path / 'two.onnx')
    with pytest.raises(ValueError, match=r'takes a, b\.'):
        export_openvino(tmp_path / 'two.onnx', tmp_path / 'model.xml')
    monkeypatch.setitem(__import__('sys').modules, 'openvino', None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install backbones\[openvino\]'):
        export_openvino(small, tmp_path / 'model.xml')
    assert {path.name for path in tmp_path.iterdir()} == {'text.onnx', 'two.onnx'}


# Detectors


def boxes(*rows: tuple[float, ...]) -> dict[str, np.ndarray]:
    """`dets` and `labels` of one picture with a free place from (x1, y1, x2, y2, score, label)."""
    table = np.array([*rows, (0, 0, 0, 0, 0, -1)], np.float64)
    return {'dets': table[None, :, :5], 'labels': table[None, :, 5].astype(int)}


def test_boxes_of_rounded_weights_need_partners() -> None:
    rows = [(10 * i, 0, 10 * i + 8, 9, 0.9, i % 2) for i in range(10)]
    near = [(x1 + 0.05, *rest) for x1, *rest in rows]
    cuts = Thresholds(0.05, 0.5)
    error, count = module._compare_boxes('dets', boxes(*rows), boxes(*near[::-1]), 1e-2, cuts, True)
    assert (error, count) == (pytest.approx(0.05 / 98), 10)
    assert module._compare_boxes('dets', boxes(*rows), boxes(*near[:9]), 1e-2, cuts, True)[1] == 9
    assert module._compare_boxes('dets', boxes(*rows), boxes(*near[:8]), 1e-2, cuts, True) == (1.0, 8)
    assert module._compare_boxes('dets', boxes(*rows), boxes(*near), 1e-4, cuts, False)[0] > 1e-4


def test_thresholds_are_those_of_the_graph() -> None:
    nodes = [
        onnx.helper.make_node('Sigmoid', ['logits'], ['scores']),
        onnx.helper.make_node('Greater', ['scores', 'least'], ['valid']),
        onnx.helper.make_node('Sub', ['right', 'left'], ['side']),
        onnx.helper.make_node('Greater', ['side', 'pixels'], ['large']),
        onnx.helper.make_node('NonMaxSuppression', ['boxes', 'scores', 'most', 'overlap', 'zero'], ['kept']),
    ]
    values = {'least': [0.07], 'pixels': [30.0], 'overlap': [0.45], 'zero': [0.0]}
    constants = [onnx.numpy_helper.from_array(np.array(value, np.float32), name) for name, value in values.items()]
    proto = onnx.helper.make_model(onnx.helper.make_graph(nodes, 'graph', [], [], constants))
    assert module._thresholds(proto) == pytest.approx((0.07, 0.45))


@pytest.mark.parametrize(('name', 'kind'), [('logits', 'segmentor'), ('mask', 'segmentor'), ('output', 'classifier')])
def test_the_names_of_the_outputs_tell_the_kind(name: str, kind: str, tmp_path: Path) -> None:
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 3, 8, 8]) for n in ('input', name))
    graph = onnx.helper.make_graph([onnx.helper.make_node('Relu', ['input'], [name])], 'graph', [x], [y])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 18)]), tmp_path / 'model.onnx')
    assert module._Source(tmp_path / 'model.onnx').kind == kind


@pytest.mark.full
@pytest.mark.parametrize('half', [False, True])
def test_detector(detector: Path, half: bool, tmp_path: Path) -> None:
    assert module._Source(detector).thresholds == pytest.approx((0.07, 0.45))
    report = export_openvino(detector, tmp_path / 'model.xml', half=half)
    assert report.kind == 'detector'
    assert {check.output for check in report.checks} == {'dets', 'score_s8', 'score_s16', 'delta_s8', 'delta_s16'}
    assert sum(check.boxes or 0 for check in report.checks) >= 30
    assert {*run(report.path, np.zeros((1, 3, 64, 64), 'f'))} == {'dets', 'labels'}


# int8


def test_class_numbers_drift_by_pixels() -> None:
    runs = [lambda _, values=values: {'mask': np.array([[values]])} for values in ([7, 7, 1, 0], [7, 6, 1, 0])]
    assert module_int8._drift(*runs, np.zeros((2, 3, 8, 8)), ['mask']) == ({'mask': 0.25}, None, None)


def test_drift_is_that_of_all_pictures_whatever_their_sizes() -> None:
    batches = [np.full((count, 3, 8, 4 + count), count, np.float32) for count in (1, 2)]
    found = module_int8._pictures('calibration', batches)
    assert [picture.shape for picture in found] == [(3, 8, 5), (3, 8, 6), (3, 8, 6)]
    assert all(map(np.array_equal, module_int8._pictures('calibration', torch.from_numpy(batches[1])), batches[1]))
    runs = (lambda x: {'feat_s8': x}), (lambda x: {'feat_s8': x * 1.5})
    assert module_int8._drift(*runs, found, ['feat_s8']).error['feat_s8'] == pytest.approx(0.5)
    for wrong in ([], np.zeros((3, 8, 8)), np.zeros((0, *SIZE))):
        with pytest.raises(ValueError, match=r'calibration must be pictures \(N, C, H, W\), at least one'):
            module_int8._pictures('calibration', wrong)


def test_int8_keeps_what_it_promises(small: Path, tmp_path: Path) -> None:
    pytest.importorskip('nncf')
    export_openvino(small, tmp_path / 'model.xml')
    pictures = torch.rand(16, *SIZE, generator=torch.Generator().manual_seed(0))
    report = quantize_openvino(tmp_path / 'model.xml', tmp_path / 'int8.xml', pictures)
    assert report.pictures == 16 and report.boxes is None and 0 <= report.top1 <= 1
    assert 0 < report.error['output'] < 0.1
    assert 'FakeQuantize' in report.path.read_text()
    assert run(report.path, np.zeros((2, 3, 40, 40), 'f'))['output'].shape == (2, 5)
    assert re.search('<licence value="mit"', report.path.read_text())
    with pytest.raises(Disagreement, match='The int8 file may differ by 0 at most'):
        quantize_openvino(tmp_path / 'model.xml', tmp_path / 'other.xml', pictures[:2], limit=0.0)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {'model.xml', 'model.bin', 'int8.xml', 'int8.bin'}


def test_int8_mistakes(small: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec('nncf') is None:
        with pytest.raises(ModuleNotFoundError, match='need nncf, which is not installed'):
            quantize_openvino(tmp_path / 'model.xml', tmp_path / 'int8.xml', np.zeros((1, *SIZE)))
        return
    with pytest.raises(ValueError, match=r'with its \.bin beside it'):
        quantize_openvino(tmp_path / 'model.xml', tmp_path / 'int8.xml', np.zeros((1, *SIZE)))
    export_openvino(small, tmp_path / 'model.xml')
    with pytest.raises(ValueError, match='at least one'):
        quantize_openvino(tmp_path / 'model.xml', tmp_path / 'int8.xml', np.zeros((0, *SIZE)))


def test_int8_counts_shared_boxes() -> None:
    from backbones.deploy.openvino_int8 import _shared

    a, b = (0, 0, 10, 10, 0.9, 0), (50, 50, 90, 90, 0.31, 1)
    assert _shared(boxes(a, b), boxes(b[:4] + (0.29, 1), a)) == (3, 3)  # just below the border on one side
    assert _shared(boxes(a, b), boxes(a)) == (2, 3)
    assert _shared(boxes(a), boxes((*a[:5], 1))) == (0, 2)  # another class
    assert _shared(boxes(a), boxes((4, *a[1:]))) == (0, 2)  # elsewhere
