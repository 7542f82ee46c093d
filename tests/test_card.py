"""The card beside an exported file, and what a file has to prove before both exist."""

import errno
import json
import os
import subprocess
from pathlib import Path

import pytest

pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

import torch
from torch import nn

import backbones
from backbones.deploy import card, export_onnx, fuse
from backbones.deploy import export as export_module
from backbones.deploy.card import read_card
from backbones.deploy.export import Disagreement
from registry import narrow, shape, smallest

ROOT = Path(__file__).parents[1]
SIZE = (3, 96, 64)


class Small(nn.Module):
    """A convolution, its norm and a mean."""

    pretrained_cfg = {
        'architecture': 'small',
        'tag': 'x',
        'mean': (0.5, 0.4, 0.3),
        'std': (0.2, 0.3, 0.4),
        'license': 'mit',
        'interpolation': 'bicubic',
        'crop_pct': 0.9,
    }

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)).relu().mean((2, 3))


def small() -> nn.Module:
    model = Small()
    model(torch.randn(8, 3, 16, 16))  # statistics that do something
    return model.eval()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_card_says_what_the_file_is(tmp_path: Path) -> None:
    path = tmp_path / 'model.onnx'
    report = export_onnx(small(), path, input_size=SIZE, classes=list('abcd'), measure=lambda part: {'top-1': 12.5})
    assert names(tmp_path) == ['model.json', 'model.onnx']
    written = read_card(path)
    assert written == read_card(report.card) == json.loads(report.card.read_text())
    given = {'format': 'onnx', 'opset': 18, 'kind': 'classifier', 'model': 'small', 'tag': 'x', 'licence': 'mit'}
    assert given.items() <= written.items()
    assert (written['classes'], written['metric'], written['strides']) == (list('abcd'), {'top-1': 12.5}, None)
    assert written['files'] == [card.file_entry(path)]
    assert written['files'][0]['bytes'] == path.stat().st_size
    taken = {
        'name': 'input',
        'layout': 'NCHW',
        'size': [*SIZE],
        'type': 'float32',
        'normalize': False,
        'shape': ['batch', 3, 'height', 'width'],
        'free_axes': ['batch', 'height', 'width'],
        'pixel_range': [0, 1],
        'channel_order': 'rgb',
        'mean': [0.5, 0.4, 0.3],
        'std': [0.2, 0.3, 0.4],
        'resize': {'mode': 'crop', 'interpolation': 'bicubic', 'crop_pct': 0.9},
    }
    assert written['input'] == taken
    assert written['outputs'] == [{'name': 'output', 'shape': ['batch', 4], 'type': 'float32', 'stride': None}]
    assert written['reference'] == 'model'
    assert [entry['error'] for entry in written['checks']] == [check.error for check in report.checks]
    assert [tuple(entry['shape']) for entry in written['checks']] == [check.shape for check in report.checks]
    assert torch.__version__.startswith(written['versions']['torch'])
    assert written['versions']['backbones'] == backbones.__version__
    assert str(ROOT) not in report.card.read_text()


@pytest.mark.parametrize('name', smallest(maps=True)[:1])
def test_maps_have_their_strides(name: str, tmp_path: Path) -> None:
    model = narrow(name, features_only=True).eval()
    size = shape(name, 1, SIZE[1:])[-3:]
    report = export_onnx(model, tmp_path / 'model.onnx', input_size=size, dynamic='batch', normalize=True)
    written = read_card(report.path)
    assert [(o['name'], o['stride']) for o in written['outputs']] == [
        (f'feat_s{stride}', stride) for stride in model.feature_info.reduction()
    ]
    assert written['strides'] == model.feature_info.reduction()
    assert (written['input']['normalize'], written['input']['free_axes']) == (True, ['batch'])
    assert written['input']['shape'][-2:] == [*size[1:]]
    assert {entry['output'] for entry in written['fusion']} == set(report.outputs)


def test_the_commit_is_that_of_the_checkout() -> None:
    if not (ROOT / '.git').exists():
        assert card.commit() == backbones.__version__
        return
    done = subprocess.run(['git', '-C', ROOT, 'rev-parse', 'HEAD'], capture_output=True, text=True)
    assert card.commit().rstrip('+') == (done.stdout.strip() if done.returncode == 0 else backbones.__version__)


def test_an_installed_package_has_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card, '_ROOT', tmp_path)
    assert card.commit.__wrapped__() == backbones.__version__


# What does not fit together


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    export_onnx(small(), tmp_path / 'model.onnx', input_size=SIZE, check=False)
    return tmp_path / 'model.onnx'


def test_another_file_is_noticed(exported: Path) -> None:
    exported.write_bytes(exported.read_bytes() + b' ')
    for path in (exported, exported.with_suffix('.json')):
        with pytest.raises(ValueError, match='hashes differ'):
            read_card(path)


def test_a_lonely_file_or_card_is_noticed(exported: Path) -> None:
    with pytest.raises(ValueError, match=r'is the card of model\.onnx and not of model\.xml'):
        read_card(exported.with_suffix('.xml'))
    exported.rename(exported.with_name('other.onnx'))
    with pytest.raises(ValueError, match=r'belongs to model\.onnx, which does not lie beside it'):
        read_card(exported.with_suffix('.json'))
    with pytest.raises(ValueError, match='must be the card of an exported model'):
        read_card(exported.with_name('other.onnx'))


@pytest.mark.parametrize('content', ['', '{}', '[1]', '{"card": 1, "files": []}', '{"files": [{"name": "a"}]}'])
def test_a_file_that_is_no_card_is_never_replaced(content: str, tmp_path: Path) -> None:
    (tmp_path / 'model.json').write_text(content)
    with pytest.raises(ValueError, match='that file is no card: give another name'):
        export_onnx(small(), tmp_path / 'model.onnx', input_size=SIZE)
    with pytest.raises(ValueError, match='must be the card of an exported model'):
        read_card(tmp_path / 'model.onnx')
    assert (tmp_path / 'model.json').read_text() == content
    assert names(tmp_path) == ['model.json']
    with pytest.raises(ValueError, match='that is the same file'):
        export_onnx(small(), tmp_path / 'other.json', input_size=SIZE)


def test_the_card_of_another_file_is_never_replaced(exported: Path) -> None:
    before = card.card_path(exported).read_bytes()
    with pytest.raises(ValueError, match=rf'is the card of {exported.name}: give another name, or remove'):
        card.check_target(exported.with_suffix('.xml'))
    assert card.card_path(exported).read_bytes() == before
    card.check_target(exported)
    exported.unlink()
    card.check_target(exported.with_suffix('.xml'))


def test_a_file_that_no_card_lists_is_never_replaced(exported: Path) -> None:
    card.check_target(exported)
    weights = exported.with_suffix('.bin')
    weights.write_bytes(b'weights of something else')
    with pytest.raises(ValueError, match=r'model\.bin must be an earlier export, with its card beside it'):
        card.check_target(exported, ('.bin',))
    card.card_path(exported).unlink()
    with pytest.raises(ValueError, match=r'model\.onnx must be an earlier export'):
        export_onnx(small(), exported, input_size=SIZE)
    assert names(exported.parent) == ['model.bin', 'model.onnx']


def test_both_are_replaced_together(exported: Path) -> None:
    before = read_card(exported)
    export_onnx(small(), exported, input_size=SIZE, check=False)
    after = read_card(exported)
    assert after['files'][0]['sha256'] != before['files'][0]['sha256']
    assert names(exported.parent) == ['model.json', 'model.onnx']


# Nothing is left of what fails


@pytest.mark.parametrize('older', [False, True])
@pytest.mark.parametrize('moment', ['save', 'card', 'rename'])
def test_a_full_disk_leaves_what_was_there(
    moment: str, older: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'model.onnx'
    if older:
        export_onnx(small(), path, input_size=SIZE, check=False)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    replace = os.replace

    def full(*args) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full_for_the_model(source, target) -> None:
        if Path(target) == path:
            full()
        replace(source, target)

    if moment == 'save':
        monkeypatch.setattr(export_module.onnx, 'save', full)
    elif moment == 'card':
        monkeypatch.setattr(card, '_write', full)
    else:
        monkeypatch.setattr(card.os, 'replace', full_for_the_model)
    with pytest.raises(OSError, match=r'/model\.onnx cannot be written: No space left on device\.'):
        export_onnx(small(), path, input_size=SIZE, check=False)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_closed_folder_is_refused_before_anything_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module.os, 'access', lambda path, mode: False)
    monkeypatch.setattr(export_module, '_trace', None)
    with pytest.raises(ValueError, match='in a folder that can be written to'):
        export_onnx(small(), tmp_path / 'model.onnx', input_size=SIZE)


def test_a_bad_metric_leaves_no_file(tmp_path: Path) -> None:
    seen: list[bool] = []

    def measure(part: Path) -> dict:
        seen.append(part.exists())
        raise Disagreement('AP is 3 and 4')

    with pytest.raises(Disagreement, match='AP is 3 and 4'):
        export_onnx(small(), tmp_path / 'model.onnx', input_size=SIZE, measure=measure)
    assert seen == [True]
    assert names(tmp_path) == []


class Wrong(nn.Module):
    """Says that it can be fused, and is something else afterwards."""

    def __init__(self, error: float) -> None:
        super().__init__()
        self.error, self.scale = error, nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale

    def fuse(self) -> nn.Module:
        fused = Wrong(0).to(self.scale)
        with torch.no_grad():
            fused.scale.mul_(1 + self.error)
        return fused


def test_fusing_is_held_to_float64(tmp_path: Path) -> None:
    def model(error: float) -> nn.Module:
        return nn.Sequential(Wrong(error), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()

    report = export_onnx(model(1e-13), tmp_path / 'right.onnx', input_size=SIZE)
    assert 0 < report.fusion[0].error < 1e-12
    assert report.fusion[0].output == 'output'
    # far below what the file itself may differ by
    with pytest.raises(Disagreement, match=r"in float64, but output 'output' differs by 1e-09 .*: give fused=False"):
        export_onnx(model(1e-9), tmp_path / 'wrong.onnx', input_size=SIZE)
    assert names(tmp_path) == ['right.json', 'right.onnx']
    assert not export_onnx(model(1e-9), tmp_path / 'wrong.onnx', input_size=SIZE, fused=False).fusion
    assert not any(module.training for module in fuse(model(0)).modules())
