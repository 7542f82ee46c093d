"""Time and memory of models and of operators (aggregation, transforms), side by side in one run.

    python tools/benchmark.py --models lsnet_t --batch-size 1 16
    python tools/benchmark.py --models lsnet_t --against ../reference.py:lsnet_t --markdown docs/benchmarks.md

Candidates: `eager` (PyTorch as it is), `fused` (re-parameterised), `onnx` (fused, in ONNX Runtime), `compiled` (fused,
`torch.compile`, only on request) and `reference`, an implementation outside of this project that gets the same weights.
How it is measured: `HOW` in `benchmark_report.py`, which `--markdown` writes too.
"""

import argparse
import contextlib
import importlib.util
import itertools
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

if __package__:
    from tools import benchmark_operators
    from tools import benchmark_report as report
    from tools.models import check_name, create
else:  # run as a script: this folder is on the path
    import benchmark_operators
    import benchmark_report as report
    from models import check_name, create

MODEL_TASKS = ('forward', 'training')
OPERATOR_TASKS = ('operator', 'transform')
TASKS = (*MODEL_TASKS, *OPERATOR_TASKS)
TOLERANCE = 1e-3  # largest difference of two candidates' outputs, relative to the largest output


@dataclass(frozen=True)
class Case:
    """What to build and call; survives pickling, so that a fresh process can build it too."""

    task: str
    model: str
    candidate: str
    batch: int
    size: tuple[int, ...]  # (C, H, W), or (T, C, H, W) of a model that takes clips
    threads: int
    against: str | None = None
    onnx: str | None = None
    operator: int | None = None  # place in the operators of the task's first word
    num_steps: int | None = None  # of a spiking network, its own if None

    @property
    def label(self) -> str:
        """What a table calls the model."""
        return self.model if self.num_steps is None else f'{self.model}, T = {self.num_steps}'


@contextlib.contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def load_reference(against: str, model: str) -> nn.Module:
    """Build the reference implementation.

    Args:
        against: `PATH:FACTORY`, a Python file and a function in it; without `:FACTORY` the function named as the model.
        model: Name of our model.

    Returns:
        What the function returns, called without arguments.

    Raises:
        ValueError: The file or the function does not exist or fails.
    """
    path, factory = (against, model) if against.endswith('.py') else against.rpartition(':')[::2]
    file = Path(path).resolve()
    if not path or not file.is_file():
        raise ValueError(f'--against: there is no file {path or against!r}: give PATH.py or PATH.py:FACTORY.')
    spec = importlib.util.spec_from_file_location(f'reference_{file.stem}', file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _on_path(file.parent):
        try:
            spec.loader.exec_module(module)
            build = getattr(module, factory, None)
            if not callable(build):
                raise ValueError(f'--against: {path} has no function {factory!r}.')
            reference = build()
        except (ImportError, SyntaxError, OSError, TypeError, RuntimeError, AttributeError) as error:
            raise ValueError(f'--against: {against} fails: {type(error).__name__}: {error}') from error
    if not isinstance(reference, nn.Module):
        raise ValueError(
            f'--against: {factory}() in {path} must return a torch module, not {type(reference).__name__}.'
        )
    return reference


def _liven(model: nn.Module) -> None:
    """Give norms and constant parameters values, so that no branch is zero and equal outputs mean something.

    Branches that start at zero stay small, as trained ones are: else a deep model turns rounding into differences.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in model.modules():
            for name, value in itertools.chain(
                module.named_parameters(recurse=False), module.named_buffers(recurse=False)
            ):
                if name == 'weight' and value.ndim == 1 and not value.any():
                    value.uniform_(0.05, 0.15, generator=generator)
                elif name == 'running_var' or (name == 'weight' and value.ndim == 1):
                    value.uniform_(0.5, 1.5, generator=generator)
                elif value.is_floating_point() and value.numel() > 1 and not value.std() > 0:
                    value.normal_(0, 0.1, generator=generator)


def _training_step(model: nn.Module, image: torch.Tensor) -> Callable[[], object]:
    model.train()
    if len(image) == 1:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()

    def step() -> None:
        output = model(image)
        outputs = output if isinstance(output, tuple) else (output,)
        torch.stack([logits.square().mean() for logits in outputs]).sum().backward()
        for parameter in model.parameters():
            parameter.grad = None  # here and not before, so that no step starts with the memory of the last one

    return step


def _forward(model: nn.Module, image: torch.Tensor) -> Callable[[], torch.Tensor]:
    model.eval()

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return model(image)

    return forward


def _onnx_forward(path: str, image: torch.Tensor, threads: int) -> Callable[[], torch.Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    feed = {session.get_inputs()[0].name: image.numpy()}
    return lambda: torch.from_numpy(session.run(None, feed)[0])


def _image(case: Case) -> torch.Tensor:
    return torch.randn(case.batch, *case.size, generator=torch.Generator().manual_seed(0))


def _call(case: Case, models: dict[str, Any]) -> Callable[[], object]:
    """The function to time or measure, from the models that `models` holds."""
    if case.candidate == 'onnx':
        assert case.onnx is not None
        return _onnx_forward(case.onnx, _image(case), case.threads)
    make = _training_step if case.task == 'training' else _forward
    return make(models[case.candidate], _image(case))


def _variants(case: Case, candidates: list[str]) -> dict[str, nn.Module]:
    """Candidate -> model, all with the same weights."""
    from backbones import convert
    from backbones.deploy import fuse

    torch.manual_seed(0)
    ours = _create(case.model, case.num_steps)
    models = {'eager': ours}
    if case.against and 'reference' in candidates:
        reference = models['reference'] = load_reference(case.against, case.model)
        _liven(reference)
        ours.load_state_dict(convert(ours, reference.state_dict()))
        reference.train()  # some implementations cache what they compute from weights as they enter eval mode
        reference.eval()
    else:
        _liven(ours)
    ours.eval()
    if {'fused', 'onnx', 'compiled'} & set(candidates):
        models['fused'] = fuse(ours)
    if 'compiled' in candidates:
        models['compiled'] = torch.compile(models['fused'])  # pyright: ignore[reportArgumentType]
    return models


def _memory_of(case: Case) -> Any:
    """Peak memory of a case. Runs in a fresh process."""
    from backbones.measure import peak_memory

    torch.set_num_threads(case.threads)
    if case.candidate == 'onnx':  # its arena keeps memory, so that only its very first call shows it
        return peak_memory(_call(case, {}), torch_allocates=False)
    if case.operator is not None:
        call = _operator_call(case)
    elif case.candidate == 'reference':
        assert case.against is not None
        call = _call(case, {'reference': load_reference(case.against, case.model)})
    else:
        call = _call(case, _variants(case, [case.candidate]))
    call()
    return peak_memory(call)


def _compare(calls: dict[str, Callable[[], object]], what: str) -> None:
    """Refuse to time candidates that do not compute the same."""
    outputs = {name: call() for name, call in calls.items()}
    first, wanted = next(iter(outputs.items()))
    for name, output in outputs.items():
        if not isinstance(output, torch.Tensor) or not isinstance(wanted, torch.Tensor) or output.shape != wanted.shape:
            raise ValueError(f'{what}: {name} and {first} put out different things, so that they cannot be compared.')
        error = float((output - wanted).abs().max() / wanted.abs().max())
        if not error <= TOLERANCE:
            raise ValueError(
                f'{what}: outputs of {name} differ from {first} by {error:.1e} relative, over {TOLERANCE:.0e}.'
            )


def _rows(
    cases: list[Case], calls: dict[str, Callable[[], object]], options: argparse.Namespace, bar: Any
) -> list[report.Row]:
    """Time the cases against each other, then measure the memory of each."""
    from backbones.measure import in_fresh_process, interleave, operator_shares, ratio, taken_by_others

    share = taken_by_others()
    timings = interleave(calls, rounds=options.rounds, progress=bar.advance)
    bar.shares.append(share())
    memories = {}
    for case in cases:
        if not options.no_memory and case.candidate != 'compiled':
            memories[case.candidate] = in_fresh_process(_memory_of, case)
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


def _create(name: str, num_steps: int | None) -> nn.Module:
    return create(name, '--models', **({} if num_steps is None else {'num_steps': num_steps}))


def _sizes(name: str, given: list[int] | None, num_steps: int | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(C, H, W) of a picture, and the axes of an input behind the batch: the same, or (T, C, H, W) of a clip."""
    from backbones.layers import clip_steps

    model: Any = _create(name, num_steps)
    picture = tuple(given or model.pretrained_cfg['input_size'])
    return picture, (*clip_steps(model), *picture)


def _model_rows(
    name: str, num_steps: int | None, options: argparse.Namespace, folder: Path, bar: Any
) -> list[report.Row]:
    """All rows of one model, at one number of time steps."""
    onnx = str(folder / f'{name}.onnx') if 'onnx' in options.candidates else None
    picture, size = _sizes(name, options.input_size, num_steps)
    case = Case('forward', name, 'eager', 1, size, options.threads, options.against, onnx, num_steps=num_steps)
    models = _variants(case, options.candidates)
    if onnx:
        from backbones.deploy import export_onnx

        export_onnx(models['eager'], onnx, input_size=picture, dynamic='batch', check=False)  # compared below
    rows = []
    for batch, task in itertools.product(options.batch_size, MODEL_TASKS):
        if task in options.tasks:
            # re-parameterised models only run
            names = options.candidates if task == 'forward' else [c for c in options.candidates if c in report.BASES]
            cases = [replace(case, task=task, candidate=candidate, batch=batch) for candidate in names]
            calls = {c.candidate: _call(c, models) for c in cases}
            if task == 'forward':
                _compare(calls, f'{case.label} at batch {batch}')
            bar.say(f'{case.label}, {task}, batch {batch}')
            rows += _rows(cases, calls, options, bar)
    return rows


def _operator_call(case: Case) -> Callable[[], object]:
    assert case.operator is not None
    operator = benchmark_operators.operators(case.task.split()[0])[case.operator]
    return operator.call(case.candidate, case.batch, case.task.endswith('backward'))


def _operator_rows(kind: str, options: argparse.Namespace, bar: Any) -> list[report.Row]:
    rows = []
    places = enumerate(benchmark_operators.operators(kind))
    tasks = f'{kind} forward', f'{kind} forward + backward'
    for task, (place, operator), batch in itertools.product(tasks, places, options.batch_size):
        size = operator.shapes[0]
        cases = [
            Case(task, operator.name, candidate, batch, size, options.threads, operator=place)
            for candidate in operator.forms
        ]
        calls = {case.candidate: _operator_call(case) for case in cases}
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


def _run(options: argparse.Namespace) -> tuple[list[report.Row], float | None]:
    """All rows, and the largest share of the processors that other processes took while candidates were timed."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    trained = [c for c in options.candidates if c in report.BASES]
    per_batch = len(options.models) * len(options.num_steps) * (
        ('forward' in options.tasks) * (options.rounds + len(options.candidates))
        + ('training' in options.tasks) * (options.rounds + len(trained))
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
        rows = []
        for kind in OPERATOR_TASKS:
            if kind in options.tasks:
                rows += _operator_rows(kind, options, bar)
        if set(MODEL_TASKS) & set(options.tasks):
            for name, num_steps in itertools.product(options.models, options.num_steps):
                rows += _model_rows(name, num_steps, options, Path(folder), bar)
    return rows, max((share for share in bar.shares if share is not None), default=None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='benchmark.py', description='Time and memory of models, side by side.')
    add = parser.add_argument
    add('--models', '-m', nargs='+', default=['lsnet_t', 'lsnet_s', 'lsnet_b'], metavar='NAME')
    add(
        '--num-steps', nargs='+', type=int, default=[None], help='time steps T of spiking networks (default: their own)'
    )
    add('--tasks', nargs='+', choices=TASKS, default=list(TASKS), help='what to measure (default: all)')
    add('--candidates', nargs='+', choices=('eager', 'fused', 'onnx', 'compiled'), default=['eager', 'fused', 'onnx'])
    add('--against', metavar='PATH[:FACTORY]', help='a Python file outside of the project and the function in it that '
        'builds a reference implementation (default: the function named as the model)')  # fmt: skip
    add('--batch-size', '-b', nargs='+', type=int, default=[1, 16], metavar='N')
    add('--input-size', nargs=3, type=int, metavar=('C', 'H', 'W'), help="default: each model's own")
    add('--threads', type=int, default=2, help='threads of every candidate (default 2)')
    add('--rounds', type=int, default=15, help='timed rounds (default 15)')
    add('--no-memory', action='store_true', help='time only')
    add('--profile', action='store_true', help='name the operators that eager and the reference spend their time in')
    add('--results-file', type=Path, metavar='FILE', help='.json or .csv')
    add('--markdown', type=Path, metavar='FILE', help='write the tables between marks into this Markdown file')
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
        rows, taken = _run(options)
        report.show(rows)
        facts = {**report.facts(command, options.threads, options.rounds), 'taken_by_others': taken}
        report.warn(facts)
        if options.results_file:
            report.write_results(options.results_file, rows, facts)
        if options.markdown:
            report.write_markdown(options.markdown, rows, facts, options.section)
    except (ValueError, ImportError, OSError) as error:
        print(f'benchmark.py: {error}', file=sys.stderr)
        return 2
    finally:
        torch.set_num_threads(threads)
    return 0


if __name__ == '__main__':
    sys.exit(main())
