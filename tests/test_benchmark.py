"""`tools/benchmark.py`: its files, its ratios and its refusals, at settings that take seconds."""

import csv
import json
import re
from pathlib import Path

import pytest
import torch

from registry import facts
from tools import benchmark, benchmark_operators, benchmark_report

# An implementation outside of the project; that its keys are ours already is not what is tested here.
REFERENCE = """
import timm
import beside  # lies in the same folder


def scaling_mlp_b_6_wi_512():
    return timm.create_model('scaling_mlp_b_6_wi_512')


def other_weights():
    model = timm.create_model('scaling_mlp_b_6_wi_512')
    model.forward = lambda x: timm.create_model('scaling_mlp_b_6_wi_512').eval()(x)
    return model


def fails():
    raise RuntimeError('no GPU here')


def no_model():
    return 1
"""
SMALL = ['--models', 'scaling_mlp_b_6_wi_512', '--input-size', '3', '64', '64', '--threads', '1', '--rounds', '2']


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    folder = tmp_path / 'elsewhere'
    folder.mkdir()
    (folder / 'beside.py').write_text('')
    (folder / 'reference.py').write_text(REFERENCE)
    return folder / 'reference.py'


def test_models_against_a_reference(tmp_path: Path, reference: Path, capsys: pytest.CaptureFixture) -> None:
    table, page = tmp_path / 'out.csv', tmp_path / 'docs' / 'page.md'
    pytest.importorskip('matplotlib')
    plot = tmp_path / 'docs' / 'plot.png'
    arguments = [*SMALL, '--tasks', 'forward', 'training', '--batch-size', '2', '--plot', str(plot)]
    arguments += ['--candidates', 'channels_last', 'fused']
    arguments += ['--no-memory', '--profile']
    arguments += [
        '--against',
        f'{reference}:scaling_mlp_b_6_wi_512',
        '--results-file',
        str(table),
        '--markdown',
        str(page),
    ]
    assert benchmark.main(arguments) == 0
    assert 'reference / this' in capsys.readouterr().out.replace('\n', ' ')
    rows = list(csv.DictReader(table.open()))
    found = [(row['task'], row['candidate']) for row in rows]
    ran, trained = ('eager', 'channels_last', 'fused', 'reference'), ('eager', 'channels_last', 'reference')
    assert found == [('forward', name) for name in ran] + [('training', name) for name in trained]
    assert plot.read_bytes().startswith(b'\x89PNG')
    for row in rows:
        assert float(row['param_count']) == pytest.approx(facts('scaling_mlp_b_6_wi_512').parameters / 1e6, rel=1e-3)
        assert float(row['samples_per_sec']) == pytest.approx(2e3 / float(row['step_time']), rel=1e-3)
        assert (row['time_ratio_reference'] == '') == (row['candidate'] == 'reference')
    text = page.read_text()
    assert re.search(r'\| scaling_mlp_b_6_wi_512 \| 3x\d+x\d+ \| 2 \| fused \|', text)
    profiles = re.findall(r'^- scaling_mlp_b_6_wi_512, (.*), batch 2, (\w+): `\w+::.*` \d+%', text, re.M)
    assert profiles == [(task, name) for task in ('forward', 'training') for name in ('eager', 'reference')]
    assert str(tmp_path) not in text  # published commands hold no paths of this machine
    assert '--against reference.py:scaling_mlp_b_6_wi_512' in text
    assert not list(tmp_path.rglob('*.part'))


def test_files_in_both_runtimes(tmp_path: Path) -> None:
    for package in ('onnxruntime', 'onnxscript', 'openvino'):
        pytest.importorskip(package)
    folder, table = Path(__file__).parents[1] / 'data/bccd/images', tmp_path / 'out.csv'
    words = ['-m', 'scaling_mlp_b_6_wi_512', '--tasks', 'forward', '-b', '1', '--threads', '1', '--rounds', '1']
    words += ['--candidates', 'onnx', 'openvino', 'onnx_int8', 'openvino_int8', '--calibration', str(folder)]
    assert benchmark.main([*words, '--no-memory', '--results-file', str(table)]) == 0
    found = [row['candidate'] for row in csv.DictReader(table.open())]
    assert found == ['eager', 'onnx', 'openvino', 'onnx_int8', 'openvino_int8']


@pytest.mark.parametrize('end', [ValueError('outputs differ'), KeyboardInterrupt()], ids=['fails', 'stopped'])
def test_a_model_that_fails_or_is_stopped_leaves_the_others(
    end: BaseException, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = benchmark._model_rows

    def rows(name: str, *rest: object) -> list:
        if name == 'lsnet_s':
            raise end
        return whole(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(benchmark, '_model_rows', rows)
    table = tmp_path / 'out.csv'
    models = ['-m', 'scaling_mlp_b_6_wi_512', 'lsnet_s']
    words = [*SMALL, *models, '--tasks', 'forward', '-b', '1', '--no-memory', '--candidates', 'eager']
    if isinstance(end, ValueError):
        assert benchmark.main([*words, '--results-file', str(table)]) == 2
        assert 'benchmark.py: lsnet_s is left out: outputs differ' in capsys.readouterr().err
    else:
        with pytest.raises(KeyboardInterrupt):
            benchmark.main([*words, '--results-file', str(table)])
    assert [row['model'] for row in csv.DictReader(table.open())] == ['scaling_mlp_b_6_wi_512']


def test_operator_takes_less_memory_than_unfold(tmp_path: Path) -> None:
    results = tmp_path / 'out.json'
    assert (
        benchmark.main(
            ['--tasks', 'operator', '-b', '2', '--threads', '1', '--rounds', '1', '--results-file', str(results)]
        )
        == 0
    )
    found = json.loads(results.read_text())
    assert {'machine', 'versions', 'command', 'threads', 'date'} < set(found)
    ours = [row for row in found['rows'] if row['candidate'] == 'ours']
    assert [row['task'] for row in ours] == ['operator forward', 'operator forward + backward']
    for row in ours:
        assert row['allocated_mb'] > 2 * 64 * 56 * 56 * 4 / 1e6  # the output at least
        assert row['memory_ratios']['unfold'] > 2
        assert row['ratios']['unfold'][1] <= row['ratios']['unfold'][0] <= row['ratios']['unfold'][2]


def test_transforms_are_timed_in_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_operators, 'SIDES', (5,))
    monkeypatch.setattr(benchmark_operators, 'CHANNELS', (3,))
    results = tmp_path / 'out.json'
    words = ['--tasks', 'transform', '-b', '2', '--threads', '1', '--rounds', '1', '--no-memory']
    assert benchmark.main([*words, '--results-file', str(results)]) == 0
    rows = json.loads(results.read_text())['rows']
    tasks = ('transform forward', 'transform forward + backward')
    expected = [(t, m, c) for t in tasks for m in ('Fourier', 'cosine') for c in ('matmul', 'fft')]
    assert [(row['task'], row['model'].split()[0], row['candidate']) for row in rows] == expected
    assert {row['img_size'] for row in rows} == {'3x5x5'}
    assert all((row['candidate'] == 'matmul') == ('fft' in row['ratios']) for row in rows)


def test_unfold_form_is_the_definition() -> None:
    x, weight = torch.randn(2, 6, 5, 4), torch.randn(2, 3, 9, 5, 4)
    out = benchmark_operators.aggregate_by_unfold(x, weight)
    b, c, y, z = 1, 4, 2, 3
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    window = padded[b, c, y : y + 3, z : z + 3].reshape(9)
    assert torch.allclose(out[b, c, y, z], (window * weight[b, c % 3, :, y, z]).sum(), atol=1e-6)


def test_markdown_keeps_what_others_wrote(tmp_path: Path) -> None:
    page = tmp_path / 'page.md'
    row = benchmark_report.Row('forward', 'm', 'eager', 1, '3x32x32', 10.0, 100.0, 90.0, 110.0)
    found = {
        'date': '2026-01-01',
        'machine': 'x',
        'threads': 1,
        'rounds': 1,
        'versions': {'torch': '2'},
        'command': 'c',
    }
    page.write_text('# Title\n\nBefore.\n')
    benchmark_report.write_markdown(page, [row], found)
    page.write_text(page.read_text() + '\nAfter.\n')
    row.step_time = 50.0
    benchmark_report.write_markdown(page, [row], found)
    text = page.read_text()
    assert text.startswith('# Title\n\nBefore.\n')
    assert text.endswith('After.\n')
    assert re.findall(r'\| m \| 3x32x32 \| 1 \| eager \| (\S+) \|', text) == ['50.00']
    row.step_time = 40.0
    for _ in range(2):
        benchmark_report.write_markdown(page, [row], found, 'Another family')
    text = page.read_text()
    assert re.findall(r'\| m \| 3x32x32 \| 1 \| eager \| (\S+) \|', text) == ['50.00', '40.00']
    assert text.count('## Another family\n') == text.count(benchmark_report.HOW) == 1


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--models', 'lsnet_tt'], 'did you mean lsnet_t'),
        (['--rounds', '0'], '--rounds must be at least 1'),
        (['--batch-size', '0'], '--batch-size must be positive'),
        (['--results-file', 'out.xlsx'], 'must end in .json or .csv'),
        (['--candidates', 'onnx_int8'], '--calibration FOLDER goes with'),
        (['--plot', 'out.png', '--tasks', 'training'], '--plot shows the forward pass'),
        (['--section', 'A family'], '--section has no effect without --markdown'),
        (['--against', 'nowhere.py'], "there is no file 'nowhere.py'"),
        (['--against', 'REFERENCE:unknown'], "has no function 'unknown'"),
        (['--against', 'REFERENCE:fails'], 'no GPU here'),
        (['--against', 'REFERENCE:no_model'], 'must return a torch module'),
        (['--against', 'REFERENCE:other_weights'], 'outputs of reference differ from eager'),
        (
            ['--models', 'scaling_mlp_b_6_wi_512', 'lsnet_s', '--against', 'REFERENCE:scaling_mlp_b_6_wi_512'],
            'takes the file alone',
        ),
    ],
)
def test_mistakes(arguments: list[str], message: str, reference: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = [argument.replace('REFERENCE', str(reference)) for argument in arguments]
    assert (
        benchmark.main([*SMALL, '--tasks', 'forward', '-b', '1', '--no-memory', '--candidates', 'eager', *arguments])
        == 2
    )
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('benchmark.py: ')
    assert message in error
