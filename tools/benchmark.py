"""Time and memory of models and of operators (aggregation, transforms, neurons), side by side in one run.

    python tools/benchmark.py --models lsnet_t --batch-size 1 16
    python tools/benchmark.py --models lsnet_t --input-size 3 224 224 --input-size 3 320 480
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
    from tools import benchmark_operators, files, pictures
    from tools import benchmark_report as report
    from tools.models import check_name
else:  # run as a script: this folder is on the path
    import benchmark_models as candidates
    import benchmark_operators
    import benchmark_report as report
    import files
    import pictures
    from models import check_name

MODEL_TASKS = ('forward', 'training')
OPERATOR_TASKS = ('operator', 'transform', 'neuron')
CANDIDATES = (*candidates.TRAINED, 'fused', 'compiled', *candidates.RUNTIMES)
TASKS = (*MODEL_TASKS, *OPERATOR_TASKS)
CALIBRATED = 16  # pictures that int8 candidates are quantised on
COMPARED = 4  # of them, that they are compared with eager on
TOLERANCE = 1e-3  # largest difference of two candidates' outputs, relative to the largest output
SPIKING = 1e-2  # the same of spiking networks, for the mean difference
RELATED = 0.5  # smallest cosine of an int8 candidate's output with eager's
# the default of --models: LSNet, and the smallest Max-Former, Spikformer and QKFormer
DEFAULT = ('lsnet_t', 'lsnet_s', 'lsnet_b', 'max_former_cifar', 'spikformer_4_384_cifar', 'qkformer_cifar')


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


def _cosines(calls: dict[str, Callable[[], Any]], what: str, spiking: bool) -> dict[str, float]:
    """Cosine of the output of each int8 candidate with eager's; refuse to time what has nothing to do with it.

    Of spiking networks it is only told: 8 bits move spikes, which may turn the output of an untrained one.
    """
    found = {}
    for name in (name for name in calls if name.endswith('_int8')):
        output, wanted = calls[name]().flatten().double(), calls['eager']().flatten().double()
        cosine = found[name] = float(torch.nn.functional.cosine_similarity(output, wanted, 0))
        if not output.isfinite().all() or (not cosine >= RELATED and not spiking):
            raise ValueError(
                f'{what}: the output of {name} has a cosine of {cosine:.2f} with that of eager and must be finite and '
                f'have {RELATED} at least, to be worth timing: leave {name} out.'
            )
    return found


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
            img_size=_size_text(case),
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


def _size_text(case: candidates.Case) -> str:
    """As timm's results have it: the side of a square picture, else H x W; of an operator's input all axes."""
    if case.operator is None and case.size[-1] == case.size[-2]:
        return str(case.size[-1])
    return 'x'.join(map(str, case.size if case.operator is not None else case.size[-2:]))


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
    name: str, num_steps: int | None, given: list[int] | None, options: argparse.Namespace, folder: Path, bar: Any
) -> list[report.Row]:
    """All rows of one model, at one number of time steps and one size of pictures."""
    from backbones.deploy.spikes import neurons
    from backbones.profile import count_macs

    onnx = str(folder / f'{name}.onnx') if set(candidates.RUNTIMES) & set(options.candidates) else None
    picture, size = _sizes(name, given, num_steps)
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
    rows, spiking, cosines = [], bool(neurons(models['eager'])), {}
    if onnx and options.calibration:
        calls = _quantize(models['eager'], onnx, picture, options)
        cosines = _cosines(calls, case.label, spiking)
    for batch, task in itertools.product(options.batch_size, MODEL_TASKS):
        if task in options.tasks:
            names = options.candidates if task == 'forward' else _trained(options)
            cases = [replace(case, task=task, candidate=candidate, batch=batch) for candidate in names]
            calls = {c.candidate: candidates.call_of(c, models) for c in cases}
            if task == 'forward':
                exact = {name: call for name, call in calls.items() if not name.endswith('_int8')}
                _compare(exact, f'{case.label} at batch {batch}', spiking)
            bar.say(f'{case.label}, {task}, batch {batch}')
            found = _rows(cases, calls, options, bar)
            rows += [replace(row, **facts, cosine=cosines.get(row.candidate)) for row in found]
    return rows


def _quantize(
    model: torch.nn.Module, onnx: str, size: Sequence[int], options: argparse.Namespace
) -> dict[str, Callable[[], object]]:
    """Write the int8 form of a file, and give calls of it and of the model on a few of the real pictures.

    The noise that is timed lies outside of the ranges that pictures have, so that integers cannot hold it.
    """
    from backbones.deploy.quantize import quantize

    images = pictures.load(model, pictures.find('--calibration', options.calibration, CALIBRATED), size=size)
    file = candidates.int8_file(onnx)
    quantize(onnx, file, [image[None].numpy() for image in images])
    few = torch.stack(list(images[:COMPARED]))
    names = [name for name in options.candidates if name.endswith('_int8')]
    calls = {name: candidates.RUNTIMES[name](file, few, options.threads) for name in names}
    return {'eager': candidates.forward(model, few), **calls}


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
        firsts = {n: lambda call=call: _first(call()) for n, call in calls.items()}
        _compare(firsts, f'{task} at batch {batch}', spiking=kind == 'neuron')
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

    per_batch = len(options.models) * len(options.num_steps) * len(options.input_size) * (
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
            for name, num_steps, size in itertools.product(options.models, options.num_steps, options.input_size):
                try:
                    found = _model_rows(name, num_steps, size, options, Path(folder), bar)
                except Exception as error:  # whatever it is, hours of others' timings are not lost for it
                    which = size if len(options.input_size) > 1 else None
                    failed.append(_left_out(candidates.label(name, num_steps), which, error))
                    continue
                rows += found
                keep(rows)
    return rows, max((share for share in bar.shares if share is not None), default=None), failed


def _left_out(label: str, size: list[int] | None, error: Exception) -> str:
    """Why a model is left out, in a sentence."""
    at = f' at --input-size {" ".join(map(str, size))}' if size else ''
    if isinstance(error, ValueError | ImportError | OSError):  # sentences of ours, and what they are said with
        return f'{label}{at} is left out: {" ".join(str(error).split())}'
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f'{label}{at} is left out, since it does not run: {reason}'


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='benchmark.py', description='Time and memory of models, side by side.')
    add = parser.add_argument
    add('--models', '-m', nargs='+', default=DEFAULT, metavar='NAME', help=f'default: {" ".join(DEFAULT)}')
    add(
        '--num-steps', nargs='+', type=int, default=[None], help='time steps T of spiking networks (default: their own)'
    )
    add('--tasks', nargs='+', choices=TASKS, default=list(TASKS), help='what to measure (default: all)')
    add('--candidates', nargs='+', choices=CANDIDATES, default=['eager', 'fused', 'onnx'])
    add('--against', metavar='PATH[:FACTORY]', help='a Python file outside of the project and the function in it that '
        'builds a reference implementation (default: the function named as the model)')  # fmt: skip
    add('--calibration', metavar='FOLDER', help='real pictures that the int8 candidates are quantised on')
    add('--batch-size', '-b', nargs='+', type=int, default=[1, 16], metavar='N')
    add('--input-size', nargs=3, type=int, action='append', metavar=('C', 'H', 'W'),
        help="size of the pictures, repeatable (default: each model's own)")  # fmt: skip
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
    from backbones.deploy.spikes import neurons

    for name in ('models', 'num_steps', 'candidates', 'batch_size'):  # what is said twice is measured once
        setattr(options, name, list(dict.fromkeys(getattr(options, name))))
    options.input_size = [list(size) for size in dict.fromkeys(map(tuple, options.input_size or ()))]
    for name in ('threads', 'rounds'):
        if getattr(options, name) < 1:
            raise ValueError(f'--{name} must be at least 1, but is {getattr(options, name)}.')
    for name in ('batch_size', 'input_size', 'num_steps'):
        numbers = itertools.chain(*(n if isinstance(n, list) else [n] for n in getattr(options, name)))
        if min((n for n in numbers if n is not None), default=1) < 1:
            raise ValueError(f'--{name.replace("_", "-")} must be positive, but is {getattr(options, name)}.')
    options.input_size = options.input_size or [None]
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
        if options.num_steps != [None] and not neurons(candidates.build(name, None)):
            raise ValueError(f'--num-steps is for spiking networks, but {name} is none: leave one of them out.')
    _check_targets(options)
    if 'eager' not in options.candidates:
        options.candidates = ['eager', *options.candidates]
    if options.against:
        options.candidates = [*options.candidates, 'reference']


def _check_targets(options: argparse.Namespace) -> None:
    """Refuse before the measuring what cannot be written after it."""
    for option in ('results_file', 'plot', 'markdown'):
        if path := getattr(options, option):
            path.parent.mkdir(parents=True, exist_ok=True)
            files.check(str(path), f'--{option.replace("_", "-")}')
    if options.markdown:
        report.split(options.markdown, options.section)


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
        others = ['openvino'] if any(name.startswith('openvino') for name in options.candidates) else []
        facts = report.facts(command, options.threads, options.rounds, others)

        def keep(rows: list[report.Row]) -> None:
            if options.results_file:
                report.write_results(options.results_file, rows, facts)

        rows, facts['taken_by_others'], failed = _run(options, keep)
        for reason in failed:
            print(f'benchmark.py: {reason}', file=sys.stderr)
        if not rows:  # what an earlier run wrote stays
            return 2
        keep(rows)
        report.show(rows)
        report.warn(facts)
        if options.plot and any(row.task == 'forward' for row in rows):  # else operators alone ran
            report.write_plot(options.plot, rows)
        if options.markdown:
            report.write_markdown(options.markdown, rows, facts, options.section)
        return 2 if failed else 0
    except (ValueError, ImportError, OSError) as error:
        print(f'benchmark.py: {error}', file=sys.stderr)
        return 2
    finally:
        torch.set_num_threads(threads)


if __name__ == '__main__':
    sys.exit(main())
