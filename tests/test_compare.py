"""Backbones side by side: trained, measured, exported and timed by one command."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('mmdet')

import mm_runs
from PIL import Image

from backbones import deploy
from backbones.deploy import export_onnx
from backbones.mm import read_checkpoint
from tools import compare, score, test, train

DETECTION = 'configs/detection/retinanet_fpn_bccd.py'


pytestmark = pytest.mark.usefixtures('in_root')


def words(folder: Path, *more: str) -> list[str]:
    """A comparison of classifiers that takes seconds."""
    config = mm_runs.RUNNABLE['classification']
    short = [word for word in mm_runs.options(config, 1, folder) if not word.startswith('model.')]
    return [config, '--out', str(folder / 'out'), '--rounds', '2', *more, '--cfg-options', *short]


def test_compare_goes_on_and_writes_all(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One name, then three, of which one fails: what is done stays; table, CSV and plots hold the two that can be.

    One of these two cannot be exported.
    """

    def here(name: str, args: list[str], *_: Any) -> str | None:
        """The tool in this process, which has imported everything."""
        if 'spartan_t' in args[0]:
            return 'no memory'
        assert '--no-check' in args  # done once for all
        # mmengine's visualizer of one name lives as long as the process, and writes where it was made first
        named = ['--cfg-options', f'visualizer.name={Path(args[0]).stem}']
        return None if {'train.py': train, 'test.py': test}[name].main([*args, *named]) == 0 else 'failed'

    def export(model: Any, path: Path, **settings: Any) -> None:
        if 'efficientnet' in path.name:
            raise RuntimeError('no such operator')
        export_onnx(model, path, **settings)

    monkeypatch.setattr(compare, '_tool', here)
    monkeypatch.setattr(deploy, 'export_onnx', export)
    mm_runs.make_cifar10(tmp_path)
    out = tmp_path / 'out'
    assert compare.main(words(tmp_path, '--backbones', 'test_resnet', '--epochs', '2')) == 0
    first = out / 'test_resnet' / 'epoch_2.pth'
    assert read_checkpoint(first)['meta']['iter'] == 4
    written = first.stat().st_mtime_ns
    names = ['test_efficientnet', 'spartan_t', 'test_resnet']
    assert compare.main(words(tmp_path, '--backbones', *names, '--epochs', '2')) == 1
    said = capsys.readouterr().err
    assert 'spartan_t: no memory' in said
    assert 'test_efficientnet: it cannot be exported and timed (RuntimeError: no such operator)' in said
    assert first.stat().st_mtime_ns == written
    with (out / 'compare.csv').open() as file:
        rows = {row['backbone']: row for row in csv.DictReader(file)}
    assert rows.keys() == {'test_efficientnet', 'test_resnet'}
    for name, row in rows.items():
        metrics = json.loads((out / name / 'metrics.json').read_text())
        assert float(row['top1']) == pytest.approx(metrics['accuracy/top1'])
        assert all(float(row[key]) > 0 for key in ('params_m', 'gmacs', 'train_minutes'))
    assert float(rows['test_resnet']['latency_ms']) > 0
    assert rows['test_efficientnet']['latency_ms'] == ''
    table = (out / 'compare.md').read_text().splitlines()
    assert [line.endswith('| - |') for line in table if line.startswith('| test_')].count(True) == 1
    for plot in ('latency.png', 'curves.png'):
        assert min(Image.open(out / plot).size) > 300
    assert compare.main(words(tmp_path, '--backbones', 'test_resnet', '--epochs', '3')) == 2
    assert 'belongs to another comparison' in capsys.readouterr().err


def test_all_backbones_start_alike_and_leave_the_same_pictures_out(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """From random weights, also the config's own; a broken picture is refused, or left out of every training."""
    mm_runs.make_cifar10(tmp_path)
    broken = next((tmp_path / 'cifar10' / 'train').rglob('*.jpg'))
    broken.write_bytes(broken.read_bytes()[:100])
    start = ['model.pretrained=True', 'model.checkpoint_path=official.pth']

    def configs(*more: str) -> dict[str, Any]:
        given = words(tmp_path, '--backbones', 'lsnet_t', 'test_resnet', *more)
        given[-1:] = [given[-1], *start]
        all_pictures = [word for word in given if '.indices=' not in word]
        return compare._configs(compare._parser().parse_args(all_pictures))

    with pytest.raises(ValueError, match='pictures cannot be read'):
        configs()
    assert all(str(broken) not in config.pretty_text for config in configs('--no-check').values())
    found = configs('--unreadable', 'skip').values()
    for config in found:
        assert not {'pretrained', 'checkpoint_path', 'init_cfg'} & config.model.keys()
        assert str(broken) in config.train_dataloader.dataset.left_out
    assert 'all backbones start from random weights' in capsys.readouterr().out


def test_masks_stand_before_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of masks is judged by them, and its boxes have a column beside."""
    keys = ['coco/bbox_mAP', 'coco/bbox_mAP_50', 'coco/segm_mAP', 'coco/segm_mAP_50']
    assert score.headlines(keys) == ['coco/segm_mAP', 'coco/bbox_mAP']
    assert score.headlines(['mIoU', 'mAcc']) == ['mIoU']
    row = compare.Row('one', {'coco/segm_mAP': 30.0, 'coco/bbox_mAP': 20.0}, 1.0, None, 1.0, None, None, None)
    asked: list[str] = []
    monkeypatch.setattr(compare, '_curve', lambda work, key: asked.append(key) or {1: 30.0})
    monkeypatch.setattr(compare.curves, 'unit', lambda folders: 'epoch')
    compare._write(tmp_path, [row], [], '')
    assert asked == ['coco/segm_mAP']
    assert (tmp_path / 'compare.csv').read_text().startswith('backbone,segm_mAP,bbox_mAP,params_m,')
    assert '| one | 30.0 | 20.0 | 1.00 | - |' in (tmp_path / 'compare.md').read_text()


def test_a_tool_that_fails_gives_its_reason(tmp_path: Path) -> None:
    reason = compare._tool('train.py', ['nowhere.py'], tmp_path / 'log', 1)
    assert reason and 'there is no config file nowhere.py (exit code 2, see' in reason


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--backbones', 'spartan'], "there is no model 'spartan': did you mean spartan_t"),
        (['--backbones', 'spartan_t', 'spartan_t'], 'must name each backbone once, but names spartan_t twice'),
        (['--backbones', 'spartan_t', 'tnt_s_legacy_patch16_224'], 'gives maps of the strides 16'),
        (['--backbones', 'spartan_t', '--iters', '9'], '--iters cannot be honoured'),
        (['--backbones', 'spartan_t', '--epochs', '0'], 'must be at least 1, but is 0'),
        (['--backbones', 'spartan_t', '--jobs', '0'], '--jobs must be at least 1, but is 0'),
    ],
)
def test_mistakes(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert compare.main([DETECTION, *arguments, '--out', str(tmp_path / 'out')]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
