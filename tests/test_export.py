"""deploy.export_onnx: a file that was compared, or no file."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

import onnx
import timm
import torch
from exported import check_plain, in_openvino, metadata, run
from torch import nn

from backbones.checkpoints import INDEX, catalogue, sha256
from backbones.deploy import export_onnx
from backbones.deploy.card import read_card
from backbones.deploy.export import Disagreement
from backbones.deploy.spikes import neurons
from backbones.deploy.verify import compare_tensors
from registry import SMALL, facts, make, shape, shortened, smallest, variants
from tools import export as tool
from tools import models

ROOT = Path(__file__).parents[1]
SIZE = (3, 96, 64)


class Small(nn.Module):
    """The least that is a classifier: a convolution and a mean."""

    pretrained_cfg = {'architecture': 'small', 'mean': (0.5, 0.4, 0.3), 'std': (0.2, 0.3, 0.4), 'license': 'mit'}

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).relu().mean((2, 3))


def small() -> nn.Module:
    return Small().eval()


# Registered backbones


def _spiking(name: str) -> bool:
    return facts(name).num_steps is not None


def _full(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.full)


# By default each family is exported once: with free sizes, or, where time steps make that dear, at one size. The
# smallest network of spikes is exported both ways.
FREE = smallest(maps=True)
LEAST = min(filter(_spiking, FREE), key=lambda name: facts(name).parameters)
ONCE_FREE = [_full(name) if _spiking(name) and name != LEAST else name for name in FREE]
ONCE_STATIC = [
    _full(given.values[0]) if given.values[0] in FREE and not _spiking(given.values[0]) else given
    for given in variants()
]


@pytest.mark.parametrize('name', ONCE_STATIC)
def test_static_classifier(name: str, tmp_path: Path) -> None:
    model = shortened(make(name))
    whole = shape(name, 1, (64, 64))
    report = export_onnx(model, tmp_path / 'model.onnx', input_size=whole[-3:], batch_size=1, dynamic=False)
    check_plain(report.path)
    assert report.kind == 'classifier'
    assert [(check.shape, check.output) for check in report.checks] == [(whole, 'output')]
    # whatever depends on the size alone is a constant
    assert not {'Range', 'Shape', 'ConstantOfShape', 'Resize'} & set(report.operators)
    written = metadata(report.path)
    assert (written['model'], written['dynamic'], written['input_size']) == (name, [], [*whole[-3:]])
    assert written['mean'] == list(model.pretrained_cfg['mean'])
    assert written['licence'] == model.pretrained_cfg['license']


@pytest.mark.full
@pytest.mark.parametrize('name', variants())
def test_whole_classifier_of_any_size(name: str, tmp_path: Path) -> None:
    model, path, free = make(name).eval(), tmp_path / 'model.onnx', facts(name).any_size
    if not free:
        with pytest.raises(ValueError, match=r"pixels alone: give dynamic='batch'"):
            export_onnx(model, path)
    report = export_onnx(model, path, dynamic=True if free else 'batch')
    check_plain(report.path)
    assert report.dynamic == (('batch', 'height', 'width') if free else ('batch',))
    assert {check.shape[0] for check in report.checks} == {1, 3}


# the second is the smallest picture there is, whose deepest map is a single position; the last one is larger than the
# grids that mixers with weights of a fixed extent are made for
FREE_SHAPES = [(1, (70, 97)), (2, (32, 40)), (1, (260, 483))]
SMALL_SHAPES = [(1, (37, 47)), (2, (32, 40)), (1, (65, 83))]  # of networks for small pictures


def free_inputs(model: nn.Module) -> list[torch.Tensor]:
    shapes = SMALL_SHAPES if max(model.img_size) <= SMALL else FREE_SHAPES
    return [torch.randn(model.input_shape(batch, sides)) for batch, sides in shapes]


def pyramid_error(model: nn.Module, expected: torch.Tensor, given: np.ndarray) -> float:
    """Largest difference; of a spiking network, where rounding may move a spike, their mean."""
    whole = expected.detach().numpy()
    if neurons(model):
        return float(np.abs(whole - given).mean() / max(np.abs(whole).max(), 1e-30))
    return compare_tensors(whole, given)


@pytest.mark.parametrize('name', ONCE_FREE)
def test_pyramid_of_any_size(name: str, tmp_path: Path) -> None:
    """In ONNX Runtime, and in OpenVINO where there is one."""
    model = shortened(make(name, features_only=True))
    report = export_onnx(model, tmp_path / 'model.onnx', input_size=shape(name, 1, SIZE[1:])[-3:])
    check_plain(report.path)
    strides = model.feature_info.reduction()
    assert report.outputs == tuple(f'feat_s{stride}' for stride in strides)
    assert metadata(report.path)['strides'] == strides
    checked = {check.shape for check in report.checks}
    assert len(checked) == 3
    assert {(found[0], found[-2:]) for found in checked if found[-2:] == SIZE[1:]} == {(1, SIZE[1:])}
    assert 2 not in {found[0] for found in checked}  # the batch that was traced
    proto = onnx.load(report.path)
    axes = [dim.dim_param or dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    assert axes == ['batch', *model.model.input_shape()[1:-2], 'height', 'width']
    second = in_openvino(report.path) if importlib.util.find_spec('openvino') else None
    for x in free_inputs(model.model):
        found = [run(report.path, x)]
        if second is not None:
            found.append([second(x.numpy())[output] for output in report.outputs])
        expected = model(x)
        for outputs in found:
            for whole, given in zip(expected, outputs, strict=True):
                assert pyramid_error(model, whole, given) <= 1e-4


# Options


@pytest.mark.parametrize('fused', [True, False])
def test_foreign_classifier(fused: bool, tmp_path: Path) -> None:
    model = timm.create_model('resnet10t').eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    report = export_onnx(model, tmp_path / 'model.onnx', input_size=SIZE, fused=fused)
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ['model.json', 'model.onnx']
    assert max(check.error for check in report.checks) <= 1e-4


def test_channels_last_maps_come_channels_first(tmp_path: Path) -> None:
    model = timm.create_model('swin_tiny_patch4_window7_224', features_only=True, out_indices=(0,)).eval()
    assert model(torch.zeros(1, 3, 224, 224))[0].shape == (1, 56, 56, 96)
    report = export_onnx(model, tmp_path / 'model.onnx', dynamic=False, batch_size=1)
    assert run(report.path, torch.zeros(1, 3, 224, 224))[0].shape == (1, 96, 56, 56)


def test_channels_last_maps_with_as_many_rows_as_channels(tmp_path: Path) -> None:
    """The file's map has its channels first, whatever the order of the model's."""
    for name in ('mambaout_femto', 'convnext_atto'):
        model = timm.create_model(name, features_only=True, out_indices=(0,)).eval()
        channels = model.feature_info.channels()[0]
        size = (3, 4 * channels, 2 * channels)  # a side of the map is its number of channels
        report = export_onnx(
            model, tmp_path / f'{name}.onnx', input_size=size, batch_size=1, dynamic=False, check=False
        )
        assert run(report.path, torch.zeros(1, *size))[0].shape == (1, channels, channels, channels // 2)


def test_levels_of_equal_stride_have_numbers(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [x * 2, x + 1]

    report = export_onnx(Two().eval(), tmp_path / 'model.onnx', input_size=SIZE)
    assert report.outputs == ('feat_s1_0', 'feat_s1_1')


def test_normalisation_is_in_the_graph(tmp_path: Path) -> None:
    model = small()
    report = export_onnx(model, tmp_path / 'model.onnx', input_size=SIZE, normalize=True)
    x = torch.rand(1, 3, 40, 50)
    mean, std = (torch.tensor(model.pretrained_cfg[key])[:, None, None] for key in ('mean', 'std'))
    assert compare_tensors(model((x - mean) / std).detach().numpy(), run(report.path, x)[0]) <= 1e-5
    assert metadata(report.path)['normalize'] is True


def test_the_batch_alone_is_free(tmp_path: Path) -> None:
    report = export_onnx(small(), tmp_path / 'model.onnx', input_size=SIZE, dynamic='batch', batch_size=4)
    assert report.dynamic == ('batch',)
    assert {check.shape for check in report.checks} == {(1, *SIZE), (3, *SIZE)}
    with pytest.raises(Exception, match='dimensions'):
        run(report.path, torch.zeros(1, 3, 97, 64))


def test_metadata_is_what_was_given(tmp_path: Path) -> None:
    report = export_onnx(
        small(), tmp_path / 'model.onnx', input_size=SIZE, mean=(1, 2, 3), classes=['cat', 'dog'], metadata={'tag': 'x'}
    )
    written = metadata(report.path)
    given = {'model': 'small', 'tag': 'x', 'classes': ['cat', 'dog'], 'mean': [1, 2, 3], 'std': [0.2, 0.3, 0.4]}
    assert given.items() <= written.items()
    assert (written['licence'], written['input_size']) == ('mit', list(SIZE))
    assert written['dynamic'] == ['batch', 'height', 'width']


def test_given_sizes_and_samples_are_compared(tmp_path: Path) -> None:
    report = export_onnx(
        small(),
        tmp_path / 'model.onnx',
        input_size=SIZE,
        check_sizes=[(50, 60)],
        samples=torch.randn(2, 3, 70, 80),
    )
    assert {check.shape for check in report.checks} == {(1, 3, 50, 60), (3, 3, 50, 60), (2, 3, 70, 80)}


@pytest.mark.parametrize('features', [False, True])
def test_a_transformer_made_for_another_size(features: bool, tmp_path: Path) -> None:
    model = timm.create_model('test_vit', img_size=96, dynamic_img_size=False, features_only=features).eval()
    report = export_onnx(model, tmp_path / 'model.onnx', dynamic='batch')
    assert {check.shape for check in report.checks} == {(1, 3, 96, 96), (3, 3, 96, 96)}
    assert metadata(report.path)['input_size'] == [3, 96, 96]


def test_a_transformer_of_any_size(tmp_path: Path) -> None:
    model = timm.create_model('test_vit', img_size=96, dynamic_img_size=True).eval()
    report = export_onnx(model, tmp_path / 'model.onnx')
    assert report.dynamic == ('batch', 'height', 'width')
    assert (1, 3, 96, 96) in {check.shape for check in report.checks}
    assert {side % 16 for check in report.checks for side in check.shape[2:]} == {0}
    x = torch.randn(2, 3, 64, 112)
    assert compare_tensors(model(x).detach().numpy(), run(report.path, x)[0]) <= 1e-4


def test_what_agrees_at_other_sizes_only_is_found(tmp_path: Path) -> None:
    """The file is traced at 128 x 160 whatever it is meant for."""

    class Special(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3)) * (2 if x.shape[2:] == (64, 64) else 1)

    with pytest.raises(Disagreement, match=r'at input shape \(1, 3, 64, 64\)'):
        export_onnx(Special().eval(), tmp_path / 'model.onnx', input_size=(3, 64, 64))
    assert not list(tmp_path.iterdir())


# A file that disagrees


class Changes(nn.Module):
    """Something else when it is traced."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) * (self.factor if torch.compiler.is_exporting() else 1.0)


@pytest.mark.parametrize('factor', [1.001, float('nan')])
def test_a_file_that_disagrees_is_not_left(factor: float, tmp_path: Path) -> None:
    target = tmp_path / 'model.onnx'
    export_onnx(small(), target, input_size=SIZE, check=False)
    older = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(Disagreement, match=r"output 'output' differs by .* at input shape"):
        export_onnx(Changes(factor).eval(), target, input_size=SIZE)
    assert older.keys() == {'model.onnx', 'model.json'}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == older


def test_what_agrees_at_one_size_only_is_found(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            side = 128 if torch.compiler.is_exporting() else x.shape[2]
            return x.sum((2, 3)) / side

    with pytest.raises(Disagreement, match="If the model takes its size for a constant, dynamic='batch' helps"):
        export_onnx(Fixed().eval(), tmp_path / 'model.onnx', input_size=(3, 128, 160))
    assert not list(tmp_path.iterdir())


def test_operators_that_are_not_plain_are_refused(tmp_path: Path) -> None:
    class Spectral(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft2(x).real.mean((2, 3))

    with pytest.raises(ValueError, match='DFT'):
        export_onnx(Spectral().eval(), tmp_path / 'model.onnx', input_size=SIZE, dynamic=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('check', [True, False])
def test_opsets_that_onnxruntime_has_no_kernel_for_are_refused(check: bool, tmp_path: Path) -> None:
    roi_align = pytest.importorskip('torchvision.ops').roi_align

    class Pooled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return roi_align(x, x.new_tensor([[0, 0, 0, 9, 9]]), (2, 2), 1.0, 2).flatten(1)

    model = Pooled().eval()
    arguments = {'input_size': SIZE, 'batch_size': 1, 'dynamic': False, 'check': check}
    with pytest.raises(ValueError, match='but got 22, where it has none for RoiAlign: give opset=18'):
        export_onnx(model, tmp_path / 'model.onnx', opset=22, **arguments)
    assert not list(tmp_path.iterdir())
    assert export_onnx(model, tmp_path / 'model.onnx', opset=21, **arguments).operators['RoiAlign'] == 1


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'batch_size': 1}, 'batch_size must be at least 2'),
        ({'opset': 11}, 'opset must lie between 18 and 23'),
        ({'dynamic': 'height'}, "dynamic must be True, 'batch' or False"),
        ({'input_size': (96, 64)}, r'input_size must be \(channels, height, width\)'),
        ({'input_size': None}, 'give input_size'),
        ({'path': 'nowhere/model.onnx'}, 'a folder that exists'),
    ],
)
def test_wrong_arguments(change: dict, message: str, tmp_path: Path) -> None:
    arguments = {'input_size': SIZE, **change}
    path = tmp_path / arguments.pop('path', 'model.onnx')
    with pytest.raises(ValueError, match=message):
        export_onnx(small(), path, **arguments)


def test_wrong_models(tmp_path: Path) -> None:
    def refuse(model: nn.Module, message: str, **kwargs) -> None:
        with pytest.raises(ValueError, match=message):
            export_onnx(model, tmp_path / 'model.onnx', **{'input_size': SIZE, **kwargs})

    refuse(Small(), r'model\.eval\(\)')
    refuse(small().half(), r'model\.float\(\)')
    refuse(nn.Flatten(0).eval(), 'normalize=True needs mean and std', normalize=True)
    fixed = timm.create_model('deit_tiny_patch16_224').eval()
    refuse(fixed, r"224 x 224 pixels alone: give dynamic='batch'", input_size=None)
    fixed = timm.create_model('test_vit', img_size=96, dynamic_img_size=False).eval()
    refuse(fixed, '96 x 96 pixels alone', input_size=(3, 64, 64))

    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, int]:
            return {'answer': 42}

    refuse(Odd().eval(), 'must give one tensor, a list of maps')
    refuse(nn.Bilinear(3, 3, 3).eval(), 'must run on a batch of pictures alone, but Bilinear fails')

    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.mean() > 0 else -x

    refuse(
        Branching().eval(),
        r"torch cannot export Branching with free batch, height, width \(try dynamic='batch' or False\)",
    )
    assert not list(tmp_path.iterdir())


# The tool


def test_tool_writes_a_file_and_says_what_was_compared(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / 'model.onnx'
    assert tool.main(['-m', 'resnet10t', '--features', '--img-size', '64', '-o', str(output), '--static']) == 0
    printed, said = capsys.readouterr()
    assert 'feat_s32' in printed
    assert '2 × 3 × 64 × 64' in printed
    assert metadata(output)['dynamic'] == []
    assert 'the weights are random' in said
    card, written = read_card(output), metadata(output)
    assert (card['weights'], card['tag'], card['licence'], written['weights']) == ('random', None, None, 'random')
    assert not {'tag', 'licence', 'origin'} & written.keys()


def test_weights_of_a_file_have_its_licence_and_hash(tmp_path: Path) -> None:
    """That of the catalogue for a file that it lists, and never that of the weights that timm would fetch."""
    torch.save(timm.create_model('test_resnet').state_dict(), tmp_path / 'weights.pth')
    given, output = {'file': 'weights.pth', 'sha256': sha256(tmp_path / 'weights.pth')}, tmp_path / 'model.onnx'
    assert tool.main(['-m', 'test_resnet', '--checkpoint', str(tmp_path / 'weights.pth'), '-o', str(output)]) == 0
    card, written = read_card(output), metadata(output)
    assert (card['weights'], card['tag'], card['licence']) == (given, None, 'unknown')
    assert (written['weights'], written['licence']) == (given, 'unknown')
    for row in catalogue():
        if 'file' in row:
            facts = models.origin(str(INDEX.parent / row['file']))
            assert (facts['licence'], facts['weights']['sha256']) == (row['licence'], row['sha256'])


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['-m', 'resnet10x'], 'did you mean resnet10t'),
        (['-m', 'resnet10t', '--checkpoint', 'nothing.pth'], 'there is no file nothing.pth'),
        (['-m', 'resnet10t', '--img-size', '1', '2', '3'], '--img-size takes one side or height and width'),
        (['-m', 'resnet10t', '--features', '--num-classes', '3'], 'has no effect with --features'),
        (['-m', 'resnet10t', '--opset', '7'], 'opset must lie between'),
        (['-m', 'resnet10t', '-o', 'nowhere/model.onnx'], 'a folder that exists'),
        (['-m', 'deit_tiny_patch16_224', '--img-size', '96'], 'give --dynamic batch or --static, and no other'),
        (['--config', 'configs/detection/retinanet_lsnet_t_fpn_bccd.py'], 'needs --checkpoint'),
    ],
)
def test_tool_says_a_mistake_in_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    if '--config' in arguments:
        pytest.importorskip('mmdet')
    assert tool.main(arguments) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not printed.out
