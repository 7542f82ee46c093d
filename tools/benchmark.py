"""Time and memory of models and of operators (aggregation, transforms), side by side in one run.

    python tools/benchmark.py --models lsnet_t --batch-size 1 16
    python tools/benchmark.py --models lsnet_t --against ../reference.py:lsnet_t --markdown docs/benchmarks.md

Candidates: `eager` (PyTorch as it is), `channels_last` (the same, weights and pictures with their channels last),
`fused` (re-parameterised), `compiled` (fused, `torch.compile`), `onnx` and `openvino` (fused and exported, in ONNX
Runtime and in OpenVINO), `onnx_int8` and `openvino_int8` (the same in 8-bit integers) and `reference`, an
implementation outside of this project that gets the same weights.
How it is measured: `HOW` in `benchmark_report.py`, which `--markdown` writes too.
"""

import argparse
import itertools
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

if __package__:
    from tools import benchmark_models as candidates
    from tools import benchmark_operators, pictures
    from tools import benchmark_report as report
    from tools.models import check_name
else:  # run as a script: this folder is on the path
    import benchmark_models as candidates
    import benchmark_operators
    import benchmark_report as report
    import pictures
    from models import check_name

MODEL_TASKS = ('forward', 'training')
OPERATOR_TASKS = ('operator', 'transform')
CANDIDATES = (*candidates.TRAINED, 'fused', 'compiled', *candidates.RUNTIMES)
TASKS = (*MODEL_TASKS, *OPERATOR_TASKS)
CALIBRATED = 16  # pictures that int8 candidates are quantised on
TOLERANCE = 1e-3  # largest difference of two candidates' outputs, relative to the largest output
SPIKING = 1e-2  # the same of spiking networks, for the mean difference


def _compare(calls: dict[str, Callable[[], object]], what: str, spiking: bool = False) -> None:
    """Refuse to time candidates that do not compute the same.

    Rounding may move a spike, and that spike others: of spiking networks the mean difference is compared.
    """
    outputs = {name: call() for name, call in calls.items()}
    first, wanted = next(iter(outputs.items()))
    for name, output in outputs.items():
        if not isinstance(output, torch.Tensor) or not isinstance(wanted, torch.Tensor) or output.shape != wanted.shape:
            raise ValueError(f'{what}: {name} and {first} put out different things, so that they cannot be compared.')
        differences = (output - wanted).abs()
        error = float((differences.mean() if spiking else differences.max()) / wanted.abs().max())
        limit = SPIKING if spiking else TOLERANCE
        if not error <= limit:
            raise ValueError(
                f'{what}: outputs of {name} differ from {first} by {error:.1e} relative, over {limit:.0e}.'
            )


def _rows(
    cases: list[candidates.Case], calls: dict[str, Callable[[], object]], options: argparse.Namespace, bar: Any
) -> list[report.Row]:
    """Time the cases against each other, then measure the memory of each."""
    from backbones.measure import in_fresh_process, interleave, operator_shares, ratio, taken_by_others

    share = taken_by_others()
    timings = interleave(calls, rounds=options.rounds, progress=bar.advance)
    bar.shares.append(share())
    memories = {}
    for case in cases:
        if not options.no_memory and case.candidate != 'compiled':
            memories[case.candidate] = in_fresh_process(candidates.memory_of, case)
        bar.advance()
    rows = []
    for case in cases:
        timing, memory = timings[case.candidate], memories.get(case.candidate)
        allocated, resident = (memory.allocated, memory.resident) if memory else (None, None)
        row = report.Row(
            task=case.task,
            model=case.label,
            candidate=case.candidate,
            batch_size=case.batch,
            img_size='x'.join(map(str, case.size)),
            samples_per_sec=case.batch / timing.median,
            step_time=timing.median * 1e3,
            step_time_q1=timing.quartiles[0] * 1e3,
            step_time_q3=timing.quartiles[1] * 1e3,
            allocated_mb=None if allocated is None else allocated / 1e6,
            resident_mb=None if resident is None else resident / 1e6,
        )
        if options.profile and case.candidate in report.BASES:
            row.operators = operator_shares(calls[case.candidate])
        for base in report.BASES:
            if base in timings and base != case.candidate:
                row.ratios[base] = ratio(timings[base], timing)
                if allocated and base in memories:
                    row.memory_ratios[base] = memories[base].allocated / allocated
        rows.append(row)
    return rows


def _trained(options: argparse.Namespace) -> list[str]:
    """Candidates that can be trained: re-parameterised models and files only run."""
    return [name for name in options.candidates if name in (*candidates.TRAINED, 'reference')]


def _sizes(name: str, given: list[int] | None, num_steps: int | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(C, H, W) of a picture, and the axes of an input behind the batch: the same, or (T, C, H, W) of a clip."""
    from backbones.layers import clip_steps

    model: Any = candidates.build(name, num_steps)
    picture = tuple(given or model.pretrained_cfg['input_size'])
    return picture, (*clip_steps(model), *picture)


def _model_rows(
    name: str, num_steps: int | None, options: argparse.Namespace, folder: Path, bar: Any
) -> list[report.Row]:
    """All rows of one model, at one number of time steps."""
    from backbones.deploy.spikes import neurons
    from backbones.profile import count_macs

    onnx = str(folder / f'{name}.onnx') if set(candidates.RUNTIMES) & set(options.candidates) else None
    picture, size = _sizes(name, options.input_size, num_steps)
    case = candidates.Case(
        'forward', name, 'eager', 1, size, options.threads, options.against, onnx, num_steps=num_steps
    )
    models = candidates.variants(case, options.candidates)
    facts = {
        'param_count': sum(parameter.numel() for parameter in models['eager'].parameters()) / 1e6,
        'gmacs': count_macs(models['eager'], picture) / 1e9,
    }
    if onnx:
        from backbones.deploy import export_onnx

        export_onnx(models['eager'], onnx, input_size=picture, dynamic='batch', check=False)  # compared below
        if options.calibration:
            _quantize(models['eager'], onnx, picture, options)
    rows = []
    for batch, task in itertools.product(options.batch_size, MODEL_TASKS):
        if task in options.tasks:
            names = options.candidates if task == 'forward' else _trained(options)
            cases = [replace(case, task=task, candidate=candidate, batch=batch) for candidate in names]
            calls = {c.candidate: candidates.call_of(c, models) for c in cases}
            if task == 'forward':
                exact = {name: call for name, call in calls.items() if not name.endswith('_int8')}
                _compare(exact, f'{case.label} at batch {batch}', bool(neurons(models['eager'])))
            bar.say(f'{case.label}, {task}, batch {batch}')
            rows += [replace(row, **facts) for row in _rows(cases, calls, options, bar)]
    return rows


def _quantize(model: torch.nn.Module, onnx: str, size: Sequence[int], options: argparse.Namespace) -> None:
    """Write the int8 form of a file."""
    from backbones.deploy.quantize import quantize

    images = pictures.load(model, pictures.find('--calibration', options.calibration, CALIBRATED), size=size)
    quantize(onnx, candidates.int8_file(onnx), [image[None].numpy() for image in images])


def _operator_rows(kind: str, options: argparse.Namespace, bar: Any) -> list[report.Row]:
    rows = []
    places = enumerate(benchmark_operators.operators(kind))
    tasks = f'{kind} forward', f'{kind} forward + backward'
    for task, (place, operator), batch in itertools.product(tasks, places, options.batch_size):
        size = operator.shapes[0]
        cases = [
            candidates.Case(task, operator.name, candidate, batch, size, options.threads, operator=place)
            for candidate in operator.forms
        ]
        calls = {case.candidate: candidates.operator_call(case) for case in cases}
        _compare({n: lambda call=call: _first(call()) for n, call in calls.items()}, f'{task} at batch {batch}')
        bar.say(f'{operator.name}, {"x".join(map(str, size))}, {task}, batch {batch}')
        rows += _rows(cases, calls, options, bar)
    return rows


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


class _Bar:
    """Progress on standard error, so that standard output holds the tables alone."""

    def __init__(self, progress: Any, total: int) -> None:
        task = progress.add_task('', total=total)
        self.say = lambda what: progress.update(task, description=what)
        self.advance = lambda: progress.advance(task)
        self.shares: list[float | None] = []  # of the processors, taken by others during each group of timings


def _run(
    options: argparse.Namespace, keep: Callable[[list[report.Row]], object]
) -> tuple[list[report.Row], float | None, list[str]]:
    """All rows, the largest share of the processors that others took meanwhile, and why models are left out.

    Args:
        options: Of the command line.
        keep: Called with the rows up to now when a model is done, so that a kill takes the last one alone.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    per_batch = len(options.models) * len(options.num_steps) * (
        ('forward' in options.tasks) * (options.rounds + len(options.candidates))
        + ('training' in options.tasks) * (options.rounds + len(_trained(options)))
    ) + sum(
        2 * (options.rounds + len(operator.forms))
        for kind in OPERATOR_TASKS
        if kind in options.tasks
        for operator in benchmark_operators.operators(kind)
    )
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        Progress(*columns, console=Console(stderr=True)) as progress,
        tempfile.TemporaryDirectory() as folder,
    ):
        bar = _Bar(progress, per_batch * len(options.batch_size))
        rows, failed = [], []
        for kind in OPERATOR_TASKS:
            if kind in options.tasks:
                rows += _operator_rows(kind, options, bar)
                keep(rows)
        if set(MODEL_TASKS) & set(options.tasks):
            for name, num_steps in itertools.product(options.models, options.num_steps):
                try:
                    rows += _model_rows(name, num_steps, options, Path(folder), bar)
                    keep(rows)
                except ValueError as error:  # noqa: PERF203
                    if len(options.models) == 1:
                        raise
                    failed.append(f'{name} is left out: {error}')  # hours of others' timings are not lost for it
    return rows, max((share for share in bar.shares if share is not None), default=None), failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='benchmark.py', description='Time and memory of models, side by side.')
    add = parser.add_argument
    add('--models', '-m', nargs='+', default=['lsnet_t', 'lsnet_s', 'lsnet_b'], metavar='NAME')
    add(
        '--num-steps', nargs='+', type=int, default=[None], help='time steps T of spiking networks (default: their own)'
    )
    add('--tasks', nargs='+', choices=TASKS, default=list(TASKS), help='what to measure (default: all)')
    add('--candidates', nargs='+', choices=CANDIDATES, default=['eager', 'fused', 'onnx'])
    add('--against', metavar='PATH[:FACTORY]', help='a Python file outside of the project and the function in it that '
        'builds a reference implementation (default: the function named as the model)')  # fmt: skip
    add('--calibration', metavar='FOLDER', help='real pictures that the int8 candidates are quantised on')
    add('--batch-size', '-b', nargs='+', type=int, default=[1, 16], metavar='N')
    add('--input-size', nargs=3, type=int, metavar=('C', 'H', 'W'), help="default: each model's own")
    add('--threads', type=int, default=2, help='threads of every candidate (default 2)')
    add('--rounds', type=int, default=15, help='timed rounds (default 15)')
    add('--no-memory', action='store_true', help='time only')
    add('--profile', action='store_true', help='name the operators that eager and the reference spend their time in')
    add('--results-file', type=Path, metavar='FILE', help='.json or .csv, written anew after each model')
    add('--markdown', type=Path, metavar='FILE', help='write the tables between marks into this Markdown file')
    add('--plot', type=Path, metavar='FILE', help='draw latency against parameters, a PNG file')
    add('--section', default='', metavar='TITLE', help='give the tables marks of their own, under this heading')
    return parser


def _check(options: argparse.Namespace) -> None:
    for name in ('threads', 'rounds'):
        if getattr(options, name) < 1:
            raise ValueError(f'--{name} must be at least 1, but is {getattr(options, name)}.')
    for name in ('batch_size', 'input_size', 'num_steps'):
        if min((n for n in getattr(options, name) or () if n is not None), default=1) < 1:
            raise ValueError(f'--{name.replace("_", "-")} must be positive, but is {getattr(options, name)}.')
    if options.results_file and options.results_file.suffix not in ('.json', '.csv'):
        raise ValueError(f'--results-file must end in .json or .csv, but is {options.results_file}.')
    int8 = any(name.endswith('_int8') for name in options.candidates)
    if int8 != bool(options.calibration):
        raise ValueError('--calibration FOLDER goes with onnx_int8 and openvino_int8, and these need it.')
    if options.plot and 'forward' not in options.tasks:
        raise ValueError('--plot shows the forward pass: add forward to --tasks.')
    if options.section and not options.markdown:
        raise ValueError('--section has no effect without --markdown FILE.')
    if options.against and options.num_steps != [None]:
        raise ValueError(
            '--num-steps has no effect on --against, whose model has its own steps: leave one of them out.'
        )
    if options.against and len(options.models) > 1 and not options.against.endswith('.py'):
        raise ValueError('--against with several --models takes the file alone; its functions are named as the models.')
    for name in options.models:
        check_name(name, '--models')
    if 'eager' not in options.candidates:
        options.candidates = ['eager', *options.candidates]
    if options.against:
        options.candidates = [*options.candidates, 'reference']


def main(args: list[str] | None = None) -> int:
    """Run the tool.

    Args:
        args: Command line without the program's name, `sys.argv` by default.

    Returns:
        Exit code: 0, or 2 after a user's mistake.
    """
    options = _parser().parse_args(args)
    given = sys.argv[1:] if args is None else args
    # a published command needs no paths of this machine
    command = shlex.join(['python', 'tools/benchmark.py', *(Path(a).name if os.path.isabs(a) else a for a in given)])
    threads = torch.get_num_threads()
    try:
        _check(options)
        torch.set_num_threads(options.threads)
        facts = report.facts(command, options.threads, options.rounds)

        def keep(rows: list[report.Row]) -> None:
            if options.results_file:
                report.write_results(options.results_file, rows, facts)

        rows, facts['taken_by_others'], failed = _run(options, keep)
        keep(rows)
        report.show(rows)
        report.warn(facts)
        if options.plot:
            report.write_plot(options.plot, rows)
        if options.markdown:
            report.write_markdown(options.markdown, rows, facts, options.section)
        for reason in failed:
            print(f'benchmark.py: {reason}', file=sys.stderr)
        return 2 if failed else 0
    except (ValueError, ImportError, OSError) as error:
        print(f'benchmark.py: {error}', file=sys.stderr)
        return 2
    finally:
        torch.set_num_threads(threads)


if __name__ == '__main__':
    sys.exit(main())
