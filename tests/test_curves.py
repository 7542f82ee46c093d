"""Curves of trainings, read from what mmengine logs."""

import json
from pathlib import Path

import pytest

from tools import curves


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Two trainings, the first of which was resumed before its second epoch."""
    logs = {
        'a/20260101_000000': [{'loss': 2.5, 'epoch': 1, 'step': 20}, {'accuracy/top1': 30.0, 'step': 1}],
        'a/20260102_000000': [{'accuracy/top1': 40.0, 'step': 1}, {'accuracy/top1': 50.5, 'step': 2}],
        'b/20260101_000000': [{'accuracy/top1': 45.25, 'step': 1}],
    }
    for name, rows in logs.items():
        path = tmp_path / name / 'vis_data' / 'scalars.json'
        path.parent.mkdir(parents=True)
        path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return [str(tmp_path / 'a'), str(tmp_path / 'b')]


def test_table_and_plot(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from PIL import Image

    plot = tmp_path / 'curves.png'
    assert curves.main([*folders, '--labels', 'spikes', 'ReLU', '--plot', str(plot)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ['│', '1', '│', '40.00', '│', '45.25', '│'] in rows  # the later run of the first
    assert ['│', '2', '│', '50.50', '│', '│'] in rows
    assert Image.open(plot).size == (840, 480)
    assert not plot.with_name('curves.png.part').exists()


@pytest.mark.parametrize('rest', ['', '{"accuracy/top1": 60', '{"accuracy/top1": 60.0, "st'])
def test_a_line_that_was_cut_short_costs_no_curve(folders: list[str], rest: str) -> None:
    before = curves.read(folders[0], 'accuracy/top1')
    for path in Path(folders[0]).glob('*/vis_data/scalars.json'):
        path.write_text(path.read_text() + rest)
    assert curves.read(folders[0], 'accuracy/top1') == before


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--metric', 'mIoU'], 'there are accuracy/top1, loss'),
        (['--labels', 'one'], '--labels must name 2 trainings, but names 1'),
        (['elsewhere'], 'elsewhere holds none'),
    ],
)
def test_mistakes(folders: list[str], arguments: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert curves.main([*folders, *arguments]) == 2
    assert message in capsys.readouterr().err
