"""What `benchmark.py` found, as tables on the terminal, JSON, CSV and Markdown."""

import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

if __package__:
    from tools import files, plots
else:  # run as a script: this folder is on the path
    import files
    import plots

HOW = """\
- Candidates take turns within each round (A B C, B C A, ...); each is called once untimed before it is timed. Times are
  medians over the rounds with first and third quartile; a ratio is the median of the ratios within the rounds. Ratios
  above 1 mean that the candidate of this line is better.
- A training step is forward, mean of squares of the logits, and backward; no optimizer, so that weights stay as they
  are. At batch 1 BatchNorm uses its running statistics, because the one in the head has one value for each channel.
- Peak memory is of one call in a fresh process, above the process with model and input loaded. Allocated: tensors of
  torch's CPU allocator, exact. Resident: growth that the system sees, which also holds what libraries allocate.
- All candidates of a model hold the same weights. Outputs of the forward pass were compared before they were timed, but
  for those in 8-bit integers, of which the cosine with the output of `eager` on real pictures is given. Training steps
  of models were not compared. Of operators the output was, or the gradient of the first input.
- OpenVINO compiles a file for the batch and the size that are timed, ONNX Runtime takes it with a free batch.
  `compiled` is compiled anew for each batch and each size, and its memory is not measured."""

BASES = ('eager', 'reference', 'unfold', 'fft', 'step_by_step')  # candidates that others are compared with


@dataclass
class Row:
    """One line of the results, named as timm's: times in milliseconds, memory in megabytes (10^6 bytes)."""

    task: str
    model: str
    candidate: str
    batch_size: int
    img_size: str
    samples_per_sec: float
    step_time: float
    step_time_q1: float
    step_time_q3: float
    allocated_mb: float | None = None
    resident_mb: float | None = None
    param_count: float | None = None  # millions
    gmacs: float | None = None  # of one image
    cosine: float | None = None  # of an int8 candidate's output with eager's
    ratios: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    memory_ratios: dict[str, float] = field(default_factory=dict)
    operators: dict[str, float] = field(default_factory=dict)  # share of the time; filled on request


# What the tables show: heading, and how a row fills it
COLUMNS: dict[str, Callable[[Row], str]] = {
    'Model': lambda row: row.model,
    'Size': lambda row: row.img_size,
    'Batch': lambda row: str(row.batch_size),
    'Candidate': lambda row: row.candidate,
    'Parameters (M)': lambda row: '' if row.param_count is None else f'{row.param_count:.1f}',
    'Time (ms)': lambda row: f'{row.step_time:.2f}',
    'Quartiles': lambda row: f'{row.step_time_q1:.2f} to {row.step_time_q3:.2f}',
    'Images/s': lambda row: f'{row.samples_per_sec:.1f}',
    'Allocated (MB)': lambda row: '' if row.allocated_mb is None else f'{row.allocated_mb:.1f}',
    'Resident (MB)': lambda row: '' if row.resident_mb is None else f'{row.resident_mb:.1f}',
    'Cosine': lambda row: '' if row.cosine is None else f'{row.cosine:.4f}',
}


def tables(rows: list[Row]) -> dict[str, list[list[str]]]:
    """Task -> lines of cells, the first one with the headings; one column of ratios for each base that was timed."""
    found = {}
    for task in dict.fromkeys(row.task for row in rows):
        mine = [row for row in rows if row.task == task]
        bases = [base for base in BASES if any(row.candidate == base for row in mine)]
        lines = [[*COLUMNS, *(f'{what}, {base} / this' for base in bases for what in ('Time', 'Memory'))]]
        for row in mine:
            cells = [fill(row) for fill in COLUMNS.values()]
            for base in bases:
                times, memory = row.ratios.get(base), row.memory_ratios.get(base)
                cells.append(f'{times[0]:.2f} ({times[1]:.2f} to {times[2]:.2f})' if times else '')
                cells.append(f'{memory:.2f}' if memory else '')
            lines.append(cells)
        # no empty columns
        kept = [i for i, _ in enumerate(lines[0]) if any(line[i] for line in lines[1:])]
        found[task] = [[line[i] for i in kept] for line in lines]
    return found


def profiles(rows: list[Row]) -> list[str]:
    """Where the time of each row goes, for those rows that were looked into, as a list in Markdown."""
    return [
        f'- {row.model}, {row.task}, batch {row.batch_size}, {row.candidate}: '
        + ', '.join(f'`{name}` {share:.0%}' for name, share in row.operators.items())
        for row in rows
        if row.operators
    ]


def show(rows: list[Row]) -> None:
    """Print the tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 200)
    for task, (headings, *lines) in tables(rows).items():
        table = Table(title=f'{task[0].upper()}{task[1:]}')
        for heading in headings:
            table.add_column(heading, justify='left' if heading in ('Model', 'Candidate') else 'right')
        for line in lines:
            table.add_row(*line)
        console.print(table)
    for line in profiles(rows):
        console.print(line, highlight=False)
    console.print(HOW, style='dim', highlight=False)


def facts(command: str, threads: int, rounds: int, packages: Sequence[str] = ()) -> dict[str, Any]:
    """When, where and how.

    Args:
        command: That makes the same again.
        threads: Of every candidate.
        rounds: That were timed.
        packages: That had a part in it, beside those that always have.
    """
    from backbones.measure import machine, versions

    found = {'date': date.today().isoformat(), 'machine': machine(), 'versions': {**versions(), **versions(packages)}}
    return {**found, 'threads': threads, 'rounds': rounds, 'command': command}


def warn(facts: dict[str, Any]) -> None:
    """Say so when the machine was not ours alone."""
    taken = facts['taken_by_others']
    if taken is not None and taken > 0.1:
        print(
            f'benchmark.py: other processes took up to {taken:.0%} of the processors: trust the memory, not the times.',
            file=sys.stderr,
        )


def write_results(path: Path, rows: list[Row], facts: dict[str, Any]) -> None:
    """JSON with everything, or CSV with one line for each row, which also says when, where and how."""
    if path.suffix == '.json':
        text = json.dumps({**facts, 'rows': [asdict(row) for row in rows]}, indent=1) + '\n'
    else:
        file = io.StringIO()
        bases = [base for base in BASES if any(row.candidate == base for row in rows)]
        flat = [name for name in Row.__dataclass_fields__ if not name.endswith(('ratios', 'operators'))]
        where = {name: facts[name] for name in ('date', 'machine', 'threads', 'rounds')}
        where['versions'] = _versions(facts)
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow([*flat, *(f'{what}_ratio_{base}' for base in bases for what in ('time', 'memory')), *where])
        for row in rows:
            ratios = [(row.ratios.get(base, ('',))[0], row.memory_ratios.get(base, '')) for base in bases]
            cells = [getattr(row, name) for name in flat] + [cell for pair in ratios for cell in pair]
            cells += where.values()
            writer.writerow([round(cell, 4) if isinstance(cell, float) else cell for cell in cells])
        text = file.getvalue()
    files.write(path, text)


def _versions(facts: dict[str, Any]) -> str:
    return ', '.join(f'{name} {version}' for name, version in facts['versions'].items())


def write_plot(path: Path, rows: list[Row]) -> None:
    """Latency of the forward pass against parameters at the smallest batch, one colour for each candidate."""
    mine = [row for row in rows if row.task == 'forward' and row.param_count]
    mine = [row for row in mine if row.batch_size == min(row.batch_size for row in mine)]
    sizes = len({row.img_size for row in mine}) > 1
    with plots.subplots(str(path), figsize=(9, 6)) as axes:
        for candidate in dict.fromkeys(row.candidate for row in mine):
            found = [row for row in mine if row.candidate == candidate]
            axes.scatter([row.param_count for row in found], [row.step_time for row in found], s=18, label=candidate)
        for place in dict.fromkeys((row.model, row.img_size) for row in mine):
            lowest = min((row for row in mine if (row.model, row.img_size) == place), key=lambda row: row.step_time)
            name = ', '.join(place) if sizes else lowest.model
            axes.annotate(name, (lowest.param_count, lowest.step_time), (3, -9), textcoords='offset points', fontsize=6)
        axes.set(xscale='log', yscale='log', xlabel='parameters (millions)')
        axes.set(ylabel=f'latency (ms), batch {mine[0].batch_size}')
        axes.grid(alpha=0.3, which='both')
        axes.margins(x=0.2)  # names stand to the right of their points
        axes.legend()


def split(path: Path, title: str) -> tuple[str, str, str, str]:
    """What a file holds before our marks, the marks, and what it holds behind them.

    Raises:
        ValueError: The mark of the beginning stands there without that of the end: who knows what is ours.
    """
    begin, end = (f'<!-- tools/benchmark.py: {word}{f" {title}" if title else ""} -->' for word in ('begin', 'end'))
    old = path.read_text(encoding='utf-8') if path.exists() else '# Benchmarks\n\n'
    before, found_begin, rest = old.partition(begin)
    _, found_end, after = rest.partition(end)
    if found_begin and not found_end:
        raise ValueError(f'--markdown: {path} has the mark {begin} without {end} behind it: put it behind our tables.')
    return before, begin, end, after


def write_markdown(path: Path, rows: list[Row], facts: dict[str, Any], title: str = '') -> None:
    """Replace what lies between our marks, or add it at the end; everything else in the file stays.

    A title makes marks of its own, and a heading. How it is measured is said once in a file.
    """
    before, begin, end, after = split(path, title)
    taken = facts.get('taken_by_others')
    shared = '' if taken is None else f' Others took at most {taken:.0%} of the processors.'
    parts = [
        begin,
        *([f'## {title}'] if title else []),
        f'{facts["date"]}, {facts["machine"]}; threads: {facts["threads"]}, rounds: {facts["rounds"]}; '
        f'{_versions(facts)}.{shared}',
        f'```\n{facts["command"]}\n```',
        *([] if HOW in before + after else [HOW]),
    ]
    for task, (headings, *lines) in tables(rows).items():
        rule = ['---' if heading in ('Model', 'Candidate') else '---:' for heading in headings]
        table = '\n'.join('| ' + ' | '.join(line) + ' |' for line in (headings, rule, *lines))
        parts += [f'### {task[0].upper()}{task[1:]}', table]
    if lines := profiles(rows):
        parts += ["### Where the time goes, by torch's profiler", '\n'.join(lines)]
    section = '\n\n'.join([*parts, end])
    files.write(path, before.rstrip() + '\n\n' + section + (after or '\n'))
