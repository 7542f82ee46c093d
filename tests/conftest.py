"""Settings of the whole test run: no network, one thread per worker, fixed seeds."""

import gc
import os
import random
from pathlib import Path

# Before the libraries that read them are imported. `make test` sets the threads too, for what pytest plugins load.
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ['HF_HUB_OFFLINE'] = '1'

import numpy as np
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope='module', autouse=True)
def _settle() -> None:
    """Tests make garbage, mmengine collects it at every turn: what is there before a module need not be searched."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Each test starts from the same random state, whichever tests ran before it in the worker."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (the global generator is the one that third parties draw from)
    torch.manual_seed(0)


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths in configs are those from the root of the project."""
    monkeypatch.chdir(Path(__file__).parents[1])


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    """Folder with a few pictures laid out as CIFAR-10's."""
    import mm_runs

    mm_runs.make_cifar10(tmp_path)
    return tmp_path
