"""Time and memory, measured so that numbers can be compared: interleaved rounds, fresh processes, two views of memory.

Nothing here knows what it measures; candidates are functions without arguments.
"""

import contextlib
import math
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

__all__ = [
    'Memory',
    'Timing',
    'in_fresh_process',
    'interleave',
    'machine',
    'operator_shares',
    'peak_memory',
    'ratio',
    'taken_by_others',
    'versions',
]

Result = TypeVar('Result')

# glibc moves the size from which a block is mapped, and unmapped at once, as a program runs; fixed, freed memory really
# leaves the process, and its resident size means something.
_HONEST_MALLOC = {'MALLOC_MMAP_THRESHOLD_': '65536', 'MALLOC_TRIM_THRESHOLD_': '65536', 'MALLOC_ARENA_MAX': '1'}
_QUIET_PROFILER = {'KINETO_LOG_LEVEL': '99', 'TORCH_CPP_LOG_LEVEL': 'ERROR'}


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, one number for each round.

    Attributes:
        rounds: Mean seconds of a call in each round, in the order of the rounds.
    """

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median over the rounds, in seconds."""
        return statistics.median(self.rounds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile over the rounds, in seconds."""
        return _quartiles(self.rounds)


@dataclass(frozen=True)
class Memory:
    """Peak memory of one call above what was there before it, in bytes.

    Attributes:
        allocated: Peak of the tensors that torch allocated, exact and repeatable; `None` when torch allocated nothing,
            because another runtime did the work.
        resident: Peak growth of the process as the operating system sees it, which includes what libraries allocate
            outside of torch; `None` where the system does not tell (anything but Linux).
    """

    allocated: int | None
    resident: int | None


def interleave(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 15,
    warmup: int = 2,
    min_seconds: float = 0.02,
    progress: Callable[[], object] | None = None,
) -> dict[str, Timing]:
    """Time candidates in turn, A B C, B C A, ..., so that whatever the machine does meanwhile meets them all alike.

    In each round a candidate is first called once untimed: that brings its data back into the caches, and lets the
    threads of the candidate before it go to sleep.

    Args:
        candidates: Name -> function to time.
        rounds: Number of rounds.
        warmup: Untimed calls of each candidate before the first round.
        min_seconds: Each timing repeats the call until it takes at least this long.
        progress: Called after each round.

    Returns:
        Name -> its timing.

    Raises:
        ValueError: There is no candidate, or less than one round.
    """
    if not candidates or rounds < 1 or warmup < 0:
        raise ValueError(
            f'timing needs a candidate, 1 round and 0 warm-ups or more, not {len(candidates)}, {rounds}, {warmup}.'
        )
    repeats = {}
    for name, call in candidates.items():
        for _ in range(warmup):
            call()
        repeats[name] = max(1, math.ceil(min_seconds / _seconds(call, 1)))
    found: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            candidates[name]()
            found[name].append(_seconds(candidates[name], repeats[name]))
        if progress:
            progress()
    return {name: Timing(tuple(times)) for name, times in found.items()}


def ratio(slow: Timing, fast: Timing) -> tuple[float, float, float]:
    """How many times faster `fast` is: median, first and third quartile of the ratios within each round."""
    ratios = [a / b for a, b in zip(slow.rounds, fast.rounds, strict=True)]
    return statistics.median(ratios), *_quartiles(ratios)


def peak_memory(call: Callable[[], object], *, torch_allocates: bool = True) -> Memory:
    """Peak memory of one call above what was there before.

    Meant for a process of its own (`in_fresh_process`), after something small has run, so that libraries are loaded.

    Args:
        call: What to measure. Called once, and once more under torch's profiler when torch allocates its memory.
        torch_allocates: False for other runtimes.

    Returns:
        Both views of the peak.
    """
    resident = _peak_resident(call)
    return Memory(_peak_allocated(call) if torch_allocates else None, resident)


def in_fresh_process(function: Callable[..., Result], *args: Any) -> Result:
    """`function(*args)` in a new Python process that gives freed memory back at once.

    The process is a fork of one that has imported torch and timm and done nothing else, where the system can fork.

    Args:
        function: A function of an importable module. It sets its number of threads itself.
        *args: What to call it with; like the result, it has to survive pickling.

    Returns:
        What the function returns; what it raises is raised here.
    """
    forks = 'forkserver' in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context('forkserver' if forks else 'spawn')
    if forks:
        context.set_forkserver_preload(['torch', 'timm', 'torch.profiler'])  # only the first call starts the server
    environment = {**_HONEST_MALLOC, **_QUIET_PROFILER}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)  # a new process reads these as it starts
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(function, *args).result()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def operator_shares(call: Callable[[], object], most: int = 6) -> dict[str, float]:
    """Share of one call's time that torch's operators take, without what they call themselves; the largest first.

    Args:
        call: What to look into. Called once.
        most: Operators to name.

    Returns:
        Operator -> share, between 0 and 1, of the time of all operators.
    """
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as record:
        call()
    times = {event.key: event.self_cpu_time_total for event in record.key_averages()}
    largest = sorted(times, key=lambda name: times[name], reverse=True)[:most]
    return {name: times[name] / sum(times.values()) for name in largest}


def taken_by_others() -> Callable[[], float | None]:
    """Start watching the machine.

    Returns:
        Function that gives the share of the processors' time, since then, that other processes used; `None` where the
        system does not tell (anything but Linux). Processes that this one starts count as others.
    """
    start, own, begin = _busy_seconds(), time.process_time(), time.perf_counter()

    def share() -> float | None:
        now = _busy_seconds()
        if start is None or now is None:
            return None
        others = now - start - (time.process_time() - own)
        return max(0.0, others) / ((time.perf_counter() - begin) * (os.cpu_count() or 1))

    return share


def machine() -> str:
    """Processor, number of cores and system, in one line."""
    model = ''
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        lines = (line.partition(':') for line in cpuinfo.read_text(encoding='utf-8').splitlines())
        model = next((value.strip() for key, _, value in lines if key.strip() == 'model name'), '')
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    processor = model or platform.processor() or platform.machine()
    return f'{processor}, {cores} cores, {platform.system()} {platform.machine()}'


def versions(packages: Sequence[str] = ('torch', 'timm', 'onnxruntime')) -> dict[str, str]:
    """Python and the given packages, as far as they are installed -> version."""
    found = {'python': platform.python_version()}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _busy_seconds() -> float | None:
    """Seconds that all processors together have worked since the machine started."""
    stat = Path('/proc/stat')
    if not stat.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text(encoding='ascii').split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf('SC_CLK_TCK')


def _seconds(call: Callable[[], object], repeats: int) -> float:
    """Mean seconds of a call."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method='inclusive')
    return first, third


def _peak_allocated(call: Callable[[], object]) -> int:
    """Highest sum of what torch's CPU allocator gave out and took back during the call."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as record:
        call()
    events: Any = record.profiler.kineto_results.events()  # pyright: ignore[reportOptionalMemberAccess]
    on_cpu = [e for e in events if e.name() == '[memory]' and e.device_type().name == 'CPU']
    now = peak = 0
    for event in sorted(on_cpu, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def _peak_resident(call: Callable[[], object]) -> int | None:
    """Highest resident size of this process during the call, less the size before it."""
    clear = Path('/proc/self/clear_refs')
    if not clear.exists():
        call()
        return None
    try:
        clear.write_text('5', encoding='ascii')  # the highest size so far becomes the size now
    except OSError:  # some sandboxes forbid it
        call()
        return None
    before = _status('VmHWM')
    call()
    return _status('VmHWM') - before


def _status(field: str) -> int:
    """A size out of this process's status, in bytes."""
    for line in Path('/proc/self/status').read_text(encoding='ascii').splitlines():
        name, _, value = line.partition(':')
        if name == field:
            return int(value.split()[0]) * 1024
    raise RuntimeError(f'/proc/self/status has no {field}.')
