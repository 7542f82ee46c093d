"""`tools/benchmark.py`: its files, its ratios and its refusals, at settings that take seconds."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from registry import facts, families, family
from tools import benchmark, benchmark_models, benchmark_operators, benchmark_report, plots

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
    assert re.search(r'\| scaling_mlp_b_6_wi_512 \| 64 \| 2 \| fused \|', text)
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
    rows = list(csv.DictReader(table.open()))
    assert [row['candidate'] for row in rows] == ['eager', 'onnx', 'openvino', 'onnx_int8', 'openvino_int8']
    assert ', openvino ' in rows[0]['versions']
    for row in rows:  # what 8 bits cost is told of them alone
        assert float(row['cosine'] or 1) > 0.9
        assert bool(row['cosine']) == row['candidate'].endswith('_int8')


def test_openvino_gets_the_size_that_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openvino, onnx = pytest.importorskip('openvino'), pytest.importorskip('onnx')
    whole, shapes = openvino.Core, []

    class Core(whole):  # type: ignore[misc, valid-type]
        def compile_model(self, model: Any, *rest: Any) -> Any:
            shapes.append(list(model.inputs[0].shape))  # raises where an axis is free
            return super().compile_model(model, *rest)

    monkeypatch.setattr(openvino, 'Core', Core)
    values = [onnx.helper.make_tensor_value_info(name, 1, ['batch', 3, 'h', 'w']) for name in ('input', 'output')]
    graph = onnx.helper.make_graph([onnx.helper.make_node('Relu', ['input'], ['output'])], 'g', values[:1], values[1:])
    opset = [onnx.helper.make_opsetid('', 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / 'm.onnx')
    for candidate in ('openvino', 'openvino_int8'):
        x = torch.randn(2, 3, 4, 5)
        assert torch.equal(benchmark_models.RUNTIMES[candidate](str(tmp_path / 'm.onnx'), x, 1)(), x.relu())
    assert shapes == [[2, 3, 4, 5]] * 2


def test_each_batch_is_compiled_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, batches = torch.compile, []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        batches.append(next(x.shape[0] for x in inputs if isinstance(x, torch.Tensor) and x.ndim == 4))
        return graph.forward

    monkeypatch.setattr(torch, 'compile', lambda model, **settings: whole(model, backend=backend, **settings))
    models: dict[str, Any] = {'fused': torch.nn.ReLU()}
    for batch in (2, 3):
        benchmark_models.call_of(benchmark_models.Case('forward', 'm', 'compiled', batch, (3, 4, 5), 1), models)()
    assert batches == [2, 3] and all(type(batch) is int for batch in batches)  # no symbols


def test_integers_that_have_nothing_to_do_with_the_model_are_not_timed() -> None:
    x = torch.randn(2, 5)
    noise, lost = torch.linspace(-1, 1, 10).view(2, 5), x.clone()
    noise -= x * float((noise * x).sum() / (x * x).sum())  # at right angles
    lost[0] = float('nan')
    calls: dict[str, Any] = {'eager': lambda: x, 'onnx_int8': lambda: x * 1.01}
    assert benchmark._cosines(calls, 'm', False) == {'onnx_int8': pytest.approx(1)}
    with pytest.raises(ValueError, match=r'openvino_int8 has a cosine of -?0\.00'):
        benchmark._cosines({**calls, 'openvino_int8': lambda: noise}, 'm', False)
    assert benchmark._cosines({**calls, 'openvino_int8': lambda: noise}, 'm', True)['openvino_int8'] < 0.01
    for spiking in (False, True):
        with pytest.raises(ValueError, match='must be finite'):
            benchmark._cosines({**calls, 'openvino_int8': lambda: lost}, 'm', spiking)


def test_sizes_and_what_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Each size is measured once; a size that a model refuses takes nothing from the others."""
    table = tmp_path / 'out.csv'
    words = ['-m', 'mobilenetv3_small_050', '--tasks', 'forward', '-b', '1', '1', '--threads', '1', '--rounds', '1']
    for size in ('1 64 64', '3 64 64', '3 64 96', '3 64 64'):
        words += ['--input-size', *size.split()]
    words += ['--candidates', 'eager', 'eager', '--no-memory', '--results-file', str(table)]
    assert benchmark.main(words) == 2
    rows = list(csv.DictReader(table.open()))
    assert [row['img_size'] for row in rows] == ['64', '64x96']  # as timm writes them
    for row in rows:
        assert re.fullmatch(r'\d{4}-\d\d-\d\d', row['date']) and 'cores' in row['machine']
        assert f'torch {torch.__version__.split("+")[0]}' in row['versions'] and 'openvino' not in row['versions']
        assert (row['threads'], row['rounds']) == ('1', '1')
    told = capsys.readouterr().err
    assert 'mobilenetv3_small_050 at --input-size 1 64 64 is left out, since it does not run: ' in told
    assert 'Traceback' not in told


def test_without_a_row_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    names, files = ('mobilenetv3_small_050', 'mobilenetv3_small_075'), ('out.csv', 'page.md', 'plot.png')
    for name in files:
        (tmp_path / name).write_text('of an earlier run')
    words = ['-m', *names, '--input-size', '1', '64', '64', '--tasks', 'forward', '-b', '1', '--candidates', 'eager']
    for option, name in zip(('--results-file', '--markdown', '--plot'), files, strict=True):
        words += [option, str(tmp_path / name)]
    assert benchmark.main([*words, '--no-memory', '--threads', '1', '--rounds', '1']) == 2
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(files, 'of an earlier run')
    told = capsys.readouterr().err
    assert all(f'benchmark.py: {name} is left out, since it does not run: ' in told for name in names)


def test_a_plot_leaves_no_part_of_itself(tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    (tmp_path / 'folder').mkdir()
    with pytest.raises(OSError, match='folder'), plots.subplots(str(tmp_path / 'folder')):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ['folder']


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


def test_neurons_are_timed_in_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_operators, 'MAPS', ((3, 5, 5),))
    results = tmp_path / 'out.json'
    words = ['--tasks', 'neuron', '-b', '2', '--threads', '1', '--rounds', '1', '--no-memory']
    assert benchmark.main([*words, '--results-file', str(results)]) == 0
    rows = json.loads(results.read_text())['rows']
    tasks, ways = ('neuron forward', 'neuron forward + backward'), ('by_hand', 'step_by_step')
    assert [(row['task'], row['candidate']) for row in rows] == [(task, way) for task in tasks for way in ways]
    assert {row['img_size'] for row in rows} == {'4x3x5x5'}
    assert all((row['candidate'] == 'by_hand') == ('step_by_step' in row['ratios']) for row in rows)
    (neuron,) = benchmark_operators.operators('neuron')
    first, *rest = (neuron.call(way, 2, backward)() for backward in (False, True) for way in ways)
    assert isinstance(first, torch.Tensor) and first.shape == (8, 3, 5, 5) and set(first.unique().tolist()) == {0, 1}
    assert torch.equal(first, rest[0])  # type: ignore[arg-type]
    assert torch.allclose(rest[1][0], rest[2][0], atol=1e-6)  # type: ignore[index]


def test_bench_takes_spiking_networks_too() -> None:
    spiking = {family(name): name for name in benchmark.DEFAULT if facts(name).num_steps}
    assert set(spiking) == {'max_former', 'spikformer', 'qkformer'}
    for one, name in spiking.items():  # the smallest that takes pictures in four steps
        others = [facts(other) for other in families()[one]]
        of_pictures = [other for other in others if not other.clips and other.num_steps == 4]
        assert facts(name).parameters == min(other.parameters for other in of_pictures)


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
    (broken := tmp_path / 'broken.md').write_text(text.replace('<!-- tools/benchmark.py: end -->', ''))
    before = broken.read_text()
    with pytest.raises(ValueError, match=r'without <!-- tools/benchmark\.py: end --> behind it'):
        benchmark_report.write_markdown(broken, [row], found)  # what follows may be another's
    assert broken.read_text() == before


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
        (['--models', 'lsnet_t', '--num-steps', '2'], '--num-steps is for spiking networks, but lsnet_t is none'),
        (['--markdown', 'FOLDER'], '--markdown must be a file'),
        (['--plot', 'FOLDER'], '--plot must be a file'),
        (['--results-file', 'FOLDER.csv'], '--results-file must be a file'),
        (['--markdown', 'FOLDER/broken.md'], 'without <!-- tools/benchmark.py: end --> behind it'),
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
    folder = reference.parent
    (folder / 'broken.md').write_text('<!-- tools/benchmark.py: begin -->\n')
    folder.with_suffix('.csv').mkdir()
    names = {'REFERENCE': reference, 'FOLDER': folder}
    arguments = [re.sub('REFERENCE|FOLDER', lambda found: str(names[found[0]]), word) for word in arguments]
    assert (
        benchmark.main([*SMALL, '--tasks', 'forward', '-b', '1', '--no-memory', '--candidates', 'eager', *arguments])
        == 2
    )
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('benchmark.py: ')
    assert message in error
    assert not list(folder.glob('*.part'))
