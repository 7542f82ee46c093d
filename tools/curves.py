"""Metrics of trainings side by side, epoch by epoch: a table, and a plot.

    python tools/curves.py work_dirs/max_former_cifar10_18e work_dirs/max_former_cifar10_18e_relu --plot curves.png
    python tools/curves.py work_dirs/* --metric coco/bbox_mAP

Reads what mmengine logs in each work folder (`TIME/vis_data/scalars.json`). A training that was resumed wrote several
of these; where two of them hold an epoch, the later run counts.
"""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    from tools import plots
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import plots  # type: ignore[no-redef]

Curve = dict[int, float]  # epoch or iteration -> value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='curves.py', description='Metrics of trainings, epoch by epoch.')
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='folders that train.py wrote')
    parser.add_argument('--metric', default='accuracy/top1', help='name in the log (default accuracy/top1)')
    parser.add_argument('--labels', nargs='+', help='what to call the trainings (default: names of the folders)')
    parser.add_argument('--plot', metavar='PNG', help='draw the curves into this file')
    return parser


def main(args: list[str] | None = None) -> int:
    """Run the tool.

    Args:
        args: Command line without the program's name, `sys.argv` by default.

    Returns:
        Exit code: 0, or 2 after a user's mistake.
    """
    options = _parser().parse_args(args)
    try:
        labels = options.labels or [Path(folder).name for folder in options.work_dirs]
        if len(labels) != len(options.work_dirs):
            raise ValueError(f'--labels must name {len(options.work_dirs)} trainings, but names {len(labels)}.')
        curves = [read(folder, options.metric) for folder in options.work_dirs]
        _print(labels, curves, options.metric)
        if options.plot:
            draw(labels, curves, options.metric, options.plot, unit(options.work_dirs))
            print(f'wrote {options.plot}')
    except (ValueError, ImportError, OSError) as error:
        print(f'curves.py: {error}', file=sys.stderr)
        return 2
    return 0


def read(work_dir: str | os.PathLike, metric: str) -> Curve:
    """What a training logged of a metric.

    Args:
        work_dir: Folder of the training.
        metric: Name in the log, as 'accuracy/top1'.

    Returns:
        Epoch (iteration, in trainings that count these) -> value, in their order.

    Raises:
        ValueError: The folder holds no log, or none of that metric.
    """
    rows = log(work_dir)
    curve = {int(row['step']): float(row[metric]) for row in rows if metric in row}
    if not curve:
        names = sorted({name for row in rows for name, value in row.items() if isinstance(value, float)})
        raise ValueError(f'--metric must be logged in {work_dir}, but {metric} is not: there are {", ".join(names)}.')
    return dict(sorted(curve.items()))


def log(work_dir: str | os.PathLike) -> list[dict[str, Any]]:
    """All lines of a training's log, oldest first.

    Args:
        work_dir: Folder of the training.

    Raises:
        ValueError: The folder holds no log.
    """
    paths = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))  # named by their time
    if not paths:
        raise ValueError(f'A work folder must hold a log, TIME/vis_data/scalars.json, but {work_dir} holds none.')
    return [row for path in paths for row in _rows(path)]


def _rows(path: Path) -> list[dict[str, Any]]:
    *lines, last = path.read_text(encoding='utf-8').splitlines() or ['']
    rows = [json.loads(line) for line in lines if line]
    with contextlib.suppress(json.JSONDecodeError):  # a kill or a full disk may have cut it short
        rows.append(json.loads(last))
    return rows


def unit(work_dirs: Sequence[str | os.PathLike]) -> str:
    """What the steps of the trainings count: 'epoch', 'iteration', or 'step' where they differ."""
    by_epoch = {any('epoch' in row for row in log(folder)) for folder in work_dirs}
    return 'step' if len(by_epoch) > 1 else 'epoch' if by_epoch == {True} else 'iteration'


def _print(labels: Sequence[str], curves: Sequence[Curve], metric: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table('Step', title=metric)
    for label in labels:
        table.add_column(label, justify='right')
    for step in sorted({step for curve in curves for step in curve}):
        table.add_row(str(step), *(f'{curve[step]:.2f}' if step in curve else '' for curve in curves))
    Console(width=None if os.isatty(1) else 160).print(table)


def draw(labels: Sequence[str], curves: Sequence[Curve], metric: str, path: str, step: str) -> None:
    """The plot.

    Args:
        labels: A name for each curve.
        curves: As `read` gives them.
        metric: Name of the axis.
        path: PNG file.
        step: Name of the other axis, as `unit` gives it.
    """
    from matplotlib.ticker import MaxNLocator

    with plots.subplots(path, figsize=(7, 4)) as axes:
        for label, curve in zip(labels, curves, strict=True):
            axes.plot(list(curve), list(curve.values()), marker='.', label=label)
        axes.set(xlabel=step, ylabel=metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.figure.legend(loc='outside right center', fontsize=8)  # beside the curves, which it would hide


if __name__ == '__main__':
    sys.exit(main())
