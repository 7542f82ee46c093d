"""How fast backbones train under one config: pictures a second, peak memory, and where the time of a step goes.

    python tools/throughput.py configs/detection/retinanet_fpn_bccd.py
    python tools/throughput.py CONFIG --backbones lsnet_t poolformer_s12 --iters 20 --markdown table.md

Without names it takes the smallest variant of each family whose maps fit the config, and says why others are left out.
Each backbone trains in a process of its own, one after the other, with the data, hooks and optimizer of the config.
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

try:
    from tools import mm_config, tables
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import mm_config  # type: ignore[no-redef]
    import tables  # type: ignore[no-redef]

WARMUP = 3  # steps that are not counted: the first ones allocate and start the loader


@dataclass(frozen=True)
class Result:
    """What a training took.

    Attributes:
        steps: Seconds of each counted step, from the end of the one before.
        parts: Part of a step ('loading', 'forward', 'optimizer') -> share of the time of all counted steps; 'optimizer'
            holds the backward pass too. What is left are the hooks of the training and the loop itself.
        batch: Pictures of a step.
        memory: Peak resident size of the process, in bytes.
    """

    steps: tuple[float, ...]
    parts: dict[str, float]
    batch: int
    memory: int


def _parser() -> 'mm_config.Parser':
    parser = mm_config.Parser('throughput.py', 'How fast backbones train under one config.')
    add = parser.add_argument
    add('--backbones', nargs='+', metavar='NAME', help='default: the smallest of each family of ours that fits')
    add('--iters', type=int, default=12, help=f'counted steps, after {WARMUP} to warm up (default 12)')
    add('--threads', type=int, default=2, help='threads that each training computes with (default 2)')
    add('--markdown', metavar='FILE', help='write the table into this file')
    return parser


def main(args: list[str] | None = None) -> int:
    """Run the tool.

    Args:
        args: Command line without the program's name, `sys.argv` by default.

    Returns:
        Exit code: 0; 1 if a training failed and the others are shown without it; 2 after a user's mistake.
    """
    words = sys.argv[1:] if args is None else args
    options = _parser().parse_args(words)
    failed: list[str] = []
    return mm_config.run('throughput.py', lambda: failed.extend(_measure(options, words))) or int(bool(failed))


def _measure(options: argparse.Namespace, words: Sequence[str]) -> list[str]:
    """All of it, the file written anew after each training; the names of those that failed."""
    mm_config.check_counts(options, 'iters', 'threads')
    left_out: list[str] = []
    if options.backbones:
        configs = {name: mm_config.load_config(options.config, options.cfg_options, name) for name in options.backbones}
    else:
        configs = _smallest(options, left_out)
    found: dict[str, Result] = {}
    failed: list[str] = []
    for name, config in configs.items():
        text = config.pretty_text  # a config does not survive pickling with all that it has read
        try:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn')) as pool:
                found[name] = pool.submit(train, text, options.iters, options.threads).result()
        except Exception as error:  # whatever one of them meets, the others are worth their hours
            failed.append(name)
            print(f'throughput.py: {name}: {str(error) or type(error).__name__}', file=sys.stderr, flush=True)
            continue
        print(f'{name}: {_rate(found[name]):.2f} images/s', flush=True)
        if options.markdown:
            tables.write(options.markdown, ['tools/throughput.py', *words], _facts(options, found[name]), _lines(found))
    if found:
        tables.show('Training steps', _lines(found))
    for sentence in left_out:
        print(sentence)
    return failed


def _facts(options: argparse.Namespace, result: Result) -> str:
    return (
        f'{options.threads} threads, batches of {result.batch}, median of {options.iters} steps after {WARMUP} with '
        'quartiles. Elsewhere: hooks of the training (averaged weights, log) and the loop. Memory: peak '
        'resident size of the process, without that of the loader.'
    )


def _rate(result: Result) -> float:
    """Pictures a second."""
    return result.batch / statistics.median(result.steps)


def _smallest(options: argparse.Namespace, left_out: list[str]) -> dict[str, Any]:
    """The config with the smallest variant of each family that fits it; why a family has none goes to `left_out`."""
    found = {}
    for family, names in families().items():
        reason = 'none takes pictures'
        for name in names:
            try:
                found[name] = mm_config.load_config(options.config, options.cfg_options, name)
                break
            except ValueError as error:
                reason = str(error)
        else:
            left_out.append(f'left out: {family}: {reason}')
    return found


def families() -> dict[str, list[str]]:
    """Each of our families with its variants, the fewest parameters first."""
    import timm
    import torch
    from timm.models import model_entrypoint

    import backbones

    found: dict[str, list[tuple[int, str]]] = {}
    for name in backbones.list_models():
        with torch.device('meta'):
            size = sum(parameter.numel() for parameter in timm.create_model(name).parameters())
        found.setdefault(model_entrypoint(name).__module__.rpartition('.')[2], []).append((size, name))
    return {family: [name for _, name in sorted(sizes)] for family, sizes in found.items()}


def train(text: str, iters: int, threads: int) -> Result:
    """Train in this process, for as many steps.

    Args:
        text: Config.
        iters: Steps that are counted.
        threads: Threads of torch.
    """
    import torch
    from mmengine.config import Config
    from mmengine.runner import Runner

    import backbones.mm  # noqa: F401 (registers our classes)

    torch.set_num_threads(threads)
    config = Config.fromstring(text, '.py')
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=WARMUP + iters, val_interval=10**9)
    for part in ('cfg', 'dataloader', 'evaluator'):
        config[f'val_{part}'] = config[f'test_{part}'] = None
    # Whole batches without end: at the end of a pass mmengine sleeps for two seconds.
    config.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    config.param_scheduler = None
    config.log_level, config.launcher, config.resume, config.load_from = 'ERROR', 'none', False, None
    config.default_hooks.checkpoint = None
    clock = _clock()
    config.custom_hooks = [*(config.get('custom_hooks') or []), dict(type=clock, priority='LOWEST')]
    with tempfile.TemporaryDirectory() as folder:
        config.work_dir = folder
        runner = Runner.from_cfg(config)
        runner.train()
    hook: Any = next(hook for hook in runner.hooks if isinstance(hook, clock))
    return hook.result(config.train_dataloader.batch_size)


def _clock() -> Any:
    """The hook; mmengine is imported in the process that trains alone."""
    from mmengine.hooks import Hook

    class Clock(Hook):
        """Times whole steps, and the calls that do the work of a step."""

        def __init__(self) -> None:
            self.ends: list[float] = []
            self.parts: dict[str, list[float]] = {'loading': [], 'forward': [], 'optimizer': []}

        def before_train(self, runner: Any) -> None:
            runner.model.forward = self._timed('forward', runner.model.forward)
            runner.optim_wrapper.update_params = self._timed('optimizer', runner.optim_wrapper.update_params)

        def before_train_epoch(self, runner: Any) -> None:
            self.ends.append(time.perf_counter())

        def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
            self.parts['loading'].append(time.perf_counter() - self.ends[-1])

        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            self.ends.append(time.perf_counter())

        def _timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def timed(*args: Any, **kwargs: Any) -> Any:
                start = time.perf_counter()
                try:
                    return call(*args, **kwargs)
                finally:
                    self.parts[part].append(time.perf_counter() - start)

            return timed

        def result(self, batch: int) -> Result:
            steps = [end - start for start, end in zip(self.ends, self.ends[1:], strict=False)][WARMUP:]
            shares = {part: sum(times[WARMUP:]) / sum(steps) for part, times in self.parts.items()}
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            return Result(tuple(steps), shares, batch, memory)

    return Clock


def _lines(found: dict[str, Result]) -> list[list[str]]:
    lines = [
        ['Backbone', 'Images/s', 'Step (s)', 'Loading', 'Forward', 'Backward, optimizer', 'Elsewhere', 'Memory (MB)']
    ]
    for name, result in sorted(found.items(), key=lambda item: statistics.median(item[1].steps)):
        middle = statistics.median(result.steps)
        first, _, third = statistics.quantiles(result.steps, n=4) if len(result.steps) > 1 else [middle] * 3
        shares = [*result.parts.values(), 1 - sum(result.parts.values())]
        lines.append(
            [
                name,
                f'{_rate(result):.2f}',
                f'{middle:.2f} ({first:.2f} to {third:.2f})',
                *(f'{share:.1%}' for share in shares),
                f'{result.memory / 1e6:.0f}',
            ]
        )
    return lines


if __name__ == '__main__':
    sys.exit(main())
