"""Where the time of a training step goes."""

from pathlib import Path

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')

import mm_runs
from mmengine.config import Config

import backbones
from registry import families
from tools import throughput


@pytest.mark.full
def test_families_are_those_of_the_registry() -> None:
    found = throughput.families()
    assert {family: set(names) for family, names in found.items()} == {
        family: set(names) for family, names in families().items()
    }
    assert sum(map(len, found.values())) == len(backbones.list_models())


def test_a_training_is_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are shares of the whole; as many steps are counted as were asked for."""
    monkeypatch.chdir(mm_runs.ROOT)
    mm_runs.make_cifar10(tmp_path)
    path = mm_runs.RUNNABLE['classification']
    config = Config.fromfile(path)
    config.train_dataloader.dataset.data_root = str(tmp_path / 'cifar10')
    config.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
    config.model = dict(type='TimmClassifier', model_name='test_resnet', num_classes=10)
    result = throughput.train(config.pretty_text, 3, 1)
    assert len(result.steps) == 3
    assert result.parts.keys() == {'loading', 'forward', 'optimizer'}
    assert all(0 < share < 1 for share in result.parts.values())
    assert 0 < sum(result.parts.values()) < 1
    assert (result.batch, result.memory > 50e6) == (2, True)
    lines = throughput._lines({'test_resnet': result})
    assert lines[1][0] == 'test_resnet' and len(lines[1]) == len(lines[0])


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--backbones', 'spartan'], 'did you mean spartan_t'),
        (['--iters', '0'], '--iters must be at least 1, but is 0'),
    ],
)
def test_mistakes(
    words: list[str], message: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mm_runs.ROOT)
    assert throughput.main(['configs/detection/retinanet_fpn_bccd.py', *words]) == 2
    assert message in capsys.readouterr().err
