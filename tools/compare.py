"""Train several backbones under one config and put them side by side: a table, and two plots.

    python tools/compare.py configs/detection/retinanet_fpn_bccd.py --backbones lsnet_t poolformer_s12 --epochs 12

Each backbone takes the place of the config's own, trains in a process of its own (`--jobs` at a time), is measured on
the test split with its best checkpoint, exported to ONNX and timed in ONNX Runtime, all in turn. The folder `--out`
gets `compare.md` and `compare.csv`, `latency.png` (metric against latency), `curves.png` (metric of the validation
split, epoch by epoch) and a work folder for each backbone. What is done is not done again: the same command goes on
where it stopped, also after a kill in the middle of a training.
"""

import argparse
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from tools import curves, files, length, mm_config, plots, score, tables, train
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import curves  # type: ignore[no-redef]
    import files  # type: ignore[no-redef]
    import length  # type: ignore[no-redef]
    import mm_config  # type: ignore[no-redef]
    import plots  # type: ignore[no-redef]
    import score  # type: ignore[no-redef]
    import tables  # type: ignore[no-redef]
    import train  # type: ignore[no-redef]

if TYPE_CHECKING:
    from mmengine.config import Config

TOOLS = Path(__file__).resolve().parent


@dataclass
class Row:
    """One backbone: metrics in percent, times in minutes and milliseconds; None for what could not be found."""

    backbone: str
    metrics: dict[str, float]  # the first is plotted; rows are sorted by it
    params_m: float  # of the whole model, millions
    gmacs: float | None  # of the whole model, for one picture
    train_minutes: float  # iterations alone, without start and validation
    latency_ms: float | None  # ONNX Runtime, one picture
    latency_q1_ms: float | None
    latency_q3_ms: float | None


COLUMNS = {
    'Parameters (M)': lambda row: f'{row.params_m:.2f}',
    'MACs (G)': lambda row: '-' if row.gmacs is None else f'{row.gmacs:.2f}',
    'Training (min)': lambda row: f'{row.train_minutes:.1f}',
    'ONNX Runtime (ms)': lambda row: (
        '-' if row.latency_ms is None else f'{row.latency_ms:.1f} ({row.latency_q1_ms:.1f} to {row.latency_q3_ms:.1f})'
    ),
}


def _parser() -> 'mm_config.Parser':
    parser = mm_config.Parser('compare.py', 'Train several backbones under one config and put them side by side.')
    add = parser.add_argument
    add('--backbones', nargs='+', required=True, metavar='NAME', help="names of ours or of timm's own")
    add('--epochs', type=int, help="length of each training, its schedule with it (default: the config's)")
    add('--iters', type=int, help='the same for a config that counts iterations')
    add('--out', help='folder for all that is written (default: work_dirs/compare_NAME_OF_CONFIG)')
    add('--jobs', type=int, default=1, help='trainings at a time, which share the cores (default 1)')
    add('--threads', type=int, default=2, help='threads of ONNX Runtime when it is timed (default 2)')
    add('--rounds', type=int, default=25, help='timed rounds (default 25)')
    parser.add_check()
    return parser


def main(args: list[str] | None = None) -> int:
    """Run the tool.

    Args:
        args: Command line without the program's name, `sys.argv` by default.

    Returns:
        Exit code: 0; 1 if a backbone failed and the others are compared without it, or could not be exported and has no
        latency in the table; 2 after a user's mistake.
    """
    words = sys.argv[1:] if args is None else args
    options = _parser().parse_args(words)
    failed: list[str] = []
    return mm_config.run('compare.py', lambda: failed.extend(_compare(options, words))) or int(bool(failed))


def _compare(options: argparse.Namespace, words: Sequence[str]) -> list[str]:
    """All of it; the names of those that failed."""
    mm_config.check_counts(options, 'jobs', 'threads', 'rounds')
    twice = sorted({name for name in options.backbones if options.backbones.count(name) > 1})
    if twice:
        raise ValueError(f'--backbones must name each backbone once, but names {", ".join(twice)} twice')
    out = Path(options.out or f'work_dirs/compare_{Path(options.config).stem}')
    configs = _configs(options)  # all mistakes before the first training
    paths = {name: _place(config, out, name) for name, config in configs.items()}
    failed = _each(_train, 'trained', paths, options.jobs)
    rest = {name: path for name, path in paths.items() if name not in failed}
    failed |= _each(_test, 'measured', rest, 1)
    done = [name for name in rest if name not in failed]
    if not done:
        raise ValueError('no backbone could be trained and measured: ' + '; '.join(failed.values()))
    rows, unexported = _rows(done, paths, options)
    failed |= unexported
    _write(out, rows, words, _facts(options, configs[done[0]]))
    return list(failed)


def _configs(options: argparse.Namespace) -> 'dict[str, Config]':
    """By name of the backbone. All have the same start, from random weights, and the same pictures, looked at once."""
    from backbones.mm import drop_start

    configs = {name: _config(options, name) for name in options.backbones}
    if sum([drop_start(config.model) for config in configs.values()]):
        print('compare.py: all backbones start from random weights, also the one whose weights the config names')
    first, loaders = configs[options.backbones[0]], ('train_dataloader', 'val_dataloader', 'test_dataloader')
    train.check_data(first, options, *loaders)
    for config in configs.values():  # pictures that cannot be read are left out of all
        config.train_dataloader = first.train_dataloader
    return configs


def _config(options: argparse.Namespace, name: str) -> 'Config':
    config = mm_config.load_config(options.config, options.cfg_options, name)
    length.set_length(config, options.epochs, options.iters)
    reason = score.missing(config)
    if reason:
        raise ValueError(f'backbones are compared on the test split, but {reason}')
    return config


def _place(config: 'Config', out: Path, name: str) -> Path:
    """Write the config of one backbone; one that lies there already must say the same."""
    path, text = out / 'configs' / f'{name}.py', config.pretty_text
    if path.is_file() and path.read_text(encoding='utf-8') != text:
        raise ValueError(f'--out: {path} belongs to another comparison: name a new folder, or remove {out}')
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, text)
    return path


def _work(path: Path) -> Path:
    """Work folder of the backbone whose config this is."""
    return path.parent.parent / path.stem


def _each(step: Any, done: str, paths: Mapping[str, Path], jobs: int) -> dict[str, str]:
    """Run a step for each backbone, some at a time; what failed, with its reason."""
    failed: dict[str, str] = {}
    threads = _threads(jobs)
    with ThreadPoolExecutor(jobs) as pool:
        for name, reason in zip(paths, pool.map(lambda path: step(path, threads), paths.values()), strict=True):
            if reason:
                failed[name] = f'{name}: {reason}'
                print(f'compare.py: {failed[name]}', file=sys.stderr, flush=True)
            else:
                print(f'{name}: {done}', flush=True)
    return failed


def _threads(jobs: int) -> int:
    """Of each job, so that all share the cores."""
    return max(1, (os.cpu_count() or 1) // jobs)


def _train(path: Path, threads: int) -> str | None:
    work = _work(path)
    if (work / 'trained').is_file():
        return None
    reason = _tool(
        'train.py', [str(path), '--work-dir', str(work), '--resume', '--no-check'], work / 'train.log', threads
    )
    if reason is None:
        (work / 'trained').touch()
    return reason


def _test(path: Path, threads: int) -> str | None:
    work, out = _work(path), _work(path) / 'metrics.json'
    if out.is_file():
        return None
    words = [str(path), str(mm_config.best_checkpoint(work)), '--work-dir', str(work / 'test'), '--out', str(out)]
    words.append('--no-check')
    return _tool('test.py', words, work / 'test.log', threads)


def _tool(name: str, words: Sequence[str], log: Path, threads: int) -> str | None:
    """Run one of the tools; the reason if it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, 'OMP_NUM_THREADS': str(threads)}
    with log.open('a', encoding='utf-8') as file:
        done = subprocess.run(
            [sys.executable, str(TOOLS / name), *words], stdout=file, stderr=subprocess.STDOUT, env=environment
        )
    if done.returncode == 0:
        return None
    lines = [line for line in log.read_text(encoding='utf-8', errors='replace').splitlines() if line.strip()]
    return f'{lines[-1].strip() if lines else "it ended"} (exit code {done.returncode}, see {log})'


def _rows(
    names: Sequence[str], paths: Mapping[str, Path], options: argparse.Namespace
) -> tuple[list[Row], dict[str, str]]:
    """A row for each backbone, the best first, and what has no latency or no multiply-adds."""
    from backbones.measure import interleave

    calls, facts, failed = {}, {}, {}
    for name in names:
        calls[name], facts[name], reasons = _exported(paths[name], options.threads)
        if reasons:
            failed[name] = f'{name}: {"; ".join(reasons)}'
            print(f'compare.py: {failed[name]}', file=sys.stderr, flush=True)
    timed = {name: call for name, call in calls.items() if call}
    timings = interleave(timed, rounds=options.rounds) if timed else {}
    rows = []
    for name in names:
        metrics = json.loads((_work(paths[name]) / 'metrics.json').read_text(encoding='utf-8'))
        timing = timings.get(name)
        low, high = timing.quartiles if timing else (None, None)
        rows.append(
            Row(
                backbone=name,
                metrics={key: score.percent(key, metrics[key]) for key in score.headlines(list(metrics))},
                train_minutes=_seconds(_work(paths[name])) / 60,
                latency_ms=timing and timing.median * 1e3,
                latency_q1_ms=low and low * 1e3,
                latency_q3_ms=high and high * 1e3,
                **facts[name],
            )
        )
    return sorted(rows, key=lambda row: -next(iter(row.metrics.values()))), failed


def _exported(path: Path, threads: int) -> tuple[Any, dict[str, Any], list[str]]:
    """A call of the exported model on a picture of the test split, its parameters and multiply-adds, and what failed.

    Without an exported model there is no call.
    """
    import torch
    from mmengine.registry import DATASETS

    try:
        from tools import benchmark_models as candidates
    except ImportError:
        import benchmark_models as candidates  # type: ignore[no-redef]
    from backbones.deploy import export_onnx
    from backbones.deploy.wrap import Exportable
    from backbones.mm import build_model
    from backbones.profile import count_macs

    config, work = mm_config.load_config(str(path), {}), _work(path)
    onnx = work / f'{path.stem}.onnx'

    def export() -> Any:
        if not onnx.is_file():
            export_onnx(model, onnx, input_size=image.shape[1:], batch_size=1, dynamic=False)
        session = candidates.session(os.fspath(onnx), threads)
        session.run(None, {'input': image})
        return lambda: session.run(None, {'input': image})

    def macs() -> float:
        return count_macs(Exportable(model, torch.from_numpy(image)), image.shape[1:]) / 1e9

    with score.quiet():
        model = build_model(config, mm_config.best_checkpoint(work))
        dataset = DATASETS.build(config.test_dataloader['dataset'])
        image = score.prepared(config, model, [Path(dataset.get_data_info(0)['img_path'])], normalize=True)[0]
        call, *reasons = _tried(export, 'it cannot be exported and timed')
        count, *more = _tried(macs, 'its multiply-adds cannot be counted')
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return call, {'params_m': parameters, 'gmacs': count}, [*reasons, *more]


def _tried(work: Callable[[], Any], failure: str) -> list[Any]:
    """What the function gives; or None, and why: an hour of trainings must not be lost to what follows them."""
    try:
        return [work()]
    except Exception as error:  # exporters raise whatever they like
        return [None, f'{failure} ({type(error).__name__}: {" ".join(str(error).split())[:200]})']


def _seconds(work: Path) -> float:
    """Time of all iterations, from the log: its times are means of the iterations up to its line."""
    rows = [row for row in curves.log(work) if 'time' in row and 'iter' in row]
    times: dict[int, float] = {row['iter']: row['time'] for row in rows}  # a resumed part counts once
    before, total = 0, 0.0
    for step, time in sorted(times.items()):
        total, before = total + (step - before) * time, step
    return total


def _curve(work: Path, key: str) -> curves.Curve:
    return {step: score.percent(key, value) for step, value in curves.read(work, key).items()}


def _facts(options: argparse.Namespace, config: 'Config') -> str:
    """Under which conditions."""
    loop = config.train_cfg
    steps = f'{loop.max_epochs} epochs' if loop.get('max_epochs') else f'{loop.max_iters} iterations'
    return (
        f'{steps} each, trained on {_threads(options.jobs)} threads, {options.jobs} at a time; latency of one '
        f'picture on {options.threads} threads, median of {options.rounds} rounds in turn with quartiles.'
    )


def _write(out: Path, rows: Sequence[Row], words: Sequence[str], facts: str) -> None:
    """Table and plots."""
    key, labels = next(iter(rows[0].metrics)), [name.rpartition('/')[2] for name in rows[0].metrics]
    label = labels[0]
    lines = [['Backbone', *labels, *COLUMNS]]
    for row in rows:
        metrics = [f'{value:.1f}' for value in row.metrics.values()]
        lines.append([row.backbone, *metrics, *(fill(row) for fill in COLUMNS.values())])
    tables.show(f'{label} on the test split', lines)
    tables.write(out / 'compare.md', ['tools/compare.py', *words], facts, lines)
    file, records = io.StringIO(), []
    for row in rows:
        record = asdict(row)
        metrics = dict(zip(labels, record.pop('metrics').values(), strict=True))
        records.append({'backbone': record.pop('backbone'), **metrics, **record})
    writer = csv.DictWriter(file, list(records[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(records)
    files.write(out / 'compare.csv', file.getvalue())
    _plot(out / 'latency.png', rows, label)
    names = [row.backbone for row in rows]
    folders = [out / name for name in names]
    curves.draw(
        names, [_curve(folder, key) for folder in folders], label, str(out / 'curves.png'), curves.unit(folders)
    )
    print(f'wrote compare.md, compare.csv, latency.png and curves.png to {out}')


def _plot(path: Path, rows: Sequence[Row], label: str) -> None:
    """Metric against latency; the area of a mark is the number of parameters."""
    with plots.subplots(str(path), figsize=(7, 4.5)) as axes:
        for row in rows:
            if row.latency_ms is None:
                continue
            place = row.latency_ms, next(iter(row.metrics.values()))
            axes.scatter(*place, s=20 + 8 * row.params_m, alpha=0.6)
            axes.annotate(row.backbone, place, (6, 4), textcoords='offset points', fontsize=7)
        axes.set(xscale='log', xlabel='latency in ONNX Runtime (ms)', ylabel=label)
        axes.xaxis.set_major_formatter('{x:g}')
        axes.xaxis.set_minor_formatter('{x:g}')
        axes.margins(x=0.2)  # for the names
        axes.grid(alpha=0.3, which='both')


if __name__ == '__main__':
    sys.exit(main())
