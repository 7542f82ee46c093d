"""`backbones.measure`: what it says about functions whose time order and memory are known."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from backbones import measure

MEGABYTE = 10**6


# What runs in another process has to be importable there, which this file is not.
CHILD = '''
import torch
from backbones import measure


def known_peak():
    """Three tensors of 40 MB at once, a fourth one after two have gone."""
    torch.set_num_threads(1)
    torch.ones(10).add(1).sum()

    def call():
        one = torch.ones(10_000_000)
        two, three = one + 1, one * 2
        del one, two
        assert len(torch.ones(10_000_000)) == len(three)

    return measure.peak_memory(call)


def fails():
    raise ValueError('from the other process')
'''


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / 'child_of_test_measure.py').write_text(CHILD)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module('child_of_test_measure')


def test_peak_memory(child: ModuleType) -> None:
    memory = measure.in_fresh_process(child.known_peak)
    assert memory.allocated == pytest.approx(120 * MEGABYTE, abs=1000)
    if sys.platform == 'linux':
        assert memory.resident is None or memory.resident == pytest.approx(120 * MEGABYTE, rel=0.05)


def test_fresh_process_hands_back_errors_and_the_environment(child: ModuleType) -> None:
    before = dict(os.environ)
    with pytest.raises(ValueError, match='from the other process'):
        measure.in_fresh_process(child.fails)
    assert dict(os.environ) == before


def test_interleave_takes_turns() -> None:
    calls: list[str] = []
    ticks: list[None] = []
    timings = measure.interleave(
        {name: lambda name=name: calls.append(name) for name in 'ab'},
        rounds=3,
        warmup=1,
        min_seconds=0.0,
        progress=lambda: ticks.append(None),
    )
    # one warm-up and one to size the repeats each; then an untimed and a timed call a turn, the order changing
    assert ''.join(calls) == 'aabb' + 'aabb' + 'bbaa' + 'aabb'
    assert len(ticks) == 3
    assert all(len(timing.rounds) == 3 for timing in timings.values())


def test_ratio_pairs_the_rounds() -> None:
    slow, fast = measure.Timing((2.0, 20.0, 6.0)), measure.Timing((1.0, 10.0, 2.0))
    assert measure.ratio(slow, fast) == (2.0, 2.0, 2.5)
    assert slow.median == 6.0
    assert slow.quartiles == (4.0, 13.0)
    assert measure.Timing((1.5,)).quartiles == (1.5, 1.5)


def test_wrong_settings() -> None:
    with pytest.raises(ValueError, match='needs a candidate'):
        measure.interleave({})
    with pytest.raises(ValueError, match='1 round'):
        measure.interleave({'a': lambda: None}, rounds=0)


def test_says_where_it_ran() -> None:
    assert 'cores' in measure.machine()
    found = measure.versions(('torch', 'no-such-package'))
    assert found['torch'] == torch.__version__.split('+')[0]
    assert 'no-such-package' not in found


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux tells')
def test_sees_what_others_take() -> None:
    share = measure.taken_by_others()
    code = 'import time; end = time.monotonic() + 0.6\nwhile time.monotonic() < end: pass'
    subprocess.run([sys.executable, '-c', code], check=True)
    taken = share()
    assert taken is not None
    assert taken > 0.3 / (os.cpu_count() or 1) / 2  # it worked for most of the time on one processor
