"""Where the time of a training step goes."""

from concurrent.futures import ThreadPoolExecutor
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
    config.train_dataloader.dataset.update(data_root=str(tmp_path / 'cifar10'), indices=3)  # less than two batches
    config.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
    config.model = dict(type='TimmClassifier', model_name='test_resnet', num_classes=10)
    result = throughput.train(config.pretty_text, 3, 1)
    assert len(result.steps) == 3 and max(result.steps) < 2  # mmengine sleeps as long where a sampler ends
    assert result.parts.keys() == {'loading', 'forward', 'optimizer'}
    assert all(0 < share < 1 for share in result.parts.values())
    assert 0 < sum(result.parts.values()) < 1
    assert (result.batch, result.memory > 50e6) == (2, True)
    lines = throughput._lines({'test_resnet': result})
    assert lines[1][0] == 'test_resnet' and len(lines[1]) == len(lines[0])


def _fake(text: str, iters: int, threads: int) -> throughput.Result:
    if "model_name='affnet_et'" in text:
        raise RuntimeError('no memory is left')
    return throughput.Result((2.0,) * iters, {'loading': 0.1, 'forward': 0.3, 'optimizer': 0.5}, 8, 10**9)


def test_one_that_fails_costs_the_others_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mm_runs.ROOT)
    monkeypatch.setattr(throughput, 'train', _fake)
    monkeypatch.setattr(throughput, 'ProcessPoolExecutor', lambda *args, **kwargs: ThreadPoolExecutor(1))
    table = tmp_path / 'table.md'
    names = ['lsnet_t', 'affnet_et', 'spartan_t']
    words = ['configs/detection/retinanet_fpn_bccd.py', '--backbones', *names, '--markdown', str(table)]
    assert throughput.main(words) == 1
    printed = capsys.readouterr()
    assert 'lsnet_t: 4.00 images/s' in printed.out
    assert 'throughput.py: affnet_et: no memory is left' in printed.err
    rows = [line.split(' | ')[0].strip('| ') for line in table.read_text().splitlines() if line.startswith('|')]
    assert rows == ['Backbone', '---', 'lsnet_t', 'spartan_t']


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
