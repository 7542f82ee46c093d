"""What happens during a training: the order of memory, averaged weights, random numbers."""

from typing import Any

import numpy as np
import torch
from mmengine.dataset import worker_init_fn
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, set_random_seed
from torch import Tensor, nn
from torch.utils.data import get_worker_info

__all__ = ['ChannelsLastHook', 'ClassifierEMAHook', 'ResumeExactHook']


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keeps the maps of a training with their channels last in memory, where convolutions are faster that way."""

    def before_run(self, runner: Any) -> None:
        """Maps take the order of the weights that made them."""
        runner.model.to(memory_format=torch.channels_last)


@HOOKS.register_module()
class ClassifierEMAHook(EMAHook):
    """mmengine's averaged weights, for mmpretrain's ``TimmClassifier``.

    That class leaves ``model.`` out of its keys, but not inside the hook's copy, since torch takes renamed keys
    of the outermost module alone; mmengine's hook then fails when it saves. Here the copy names its weights as the
    model does.
    """

    def before_run(self, runner) -> None:
        super().before_run(runner)
        own = self.src_model.state_dict().keys()

        def renamed(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: dict) -> dict[str, Tensor]:
            names = {key: key.replace('module.model.', 'module.', 1) for key in state}
            return {names[k] if names[k].removeprefix('module.') in own else k: v for k, v in state.items()}

        self.ema_model._register_state_dict_hook(renamed)


@HOOKS.register_module()
class ResumeExactHook(Hook):
    """Makes a training that is resumed end with the weights, to the bit, of one that was never stopped.

    Random numbers begin anew with every epoch, from the run's seed and the number of the epoch; in a loop of iterations
    with every iteration; in the workers of the data loader with every batch, from the number of the batch (see
    `_BatchSeeds`). So no checkpoint need hold their state.

    This holds on one kind of device whose kernels are deterministic, for the same number of processes, workers and
    threads, for checkpoints at the end of an epoch (in a loop of iterations: at any) and of whole accumulated steps. It
    does not hold for a loop of iterations over a sampler that ends, for batches out of order (``in_order=False``), for
    transforms that keep pictures in workers that live on (``CachedMosaic`` with ``persistent_workers``), nor for what
    mmengine leaves out of its checkpoints: the patience that ``EarlyStoppingHook`` has used up, and the score of an
    epoch whose validation was cut short.
    """

    priority = 'VERY_LOW'  # behind whatever other hooks draw

    def __init__(self) -> None:
        self._batches: _BatchSeeds | None = None

    def before_train_epoch(self, runner: Any) -> None:
        loader = runner.train_dataloader
        by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop)
        step = runner.iter if by_iteration else runner.epoch
        if self._batches is None:
            self._batches = _BatchSeeds(loader, runner, None if by_iteration else len(loader))
            loader.worker_init_fn, loader.collate_fn = self._batches.start, self._batches
        # What cannot be skipped mmengine makes again when a loop of iterations is resumed, from the first batch on.
        self._batches.first = 0 if by_iteration and not hasattr(loader.sampler, 'skip') else runner.iter
        # An iterator draws the seed of its workers when it begins, which is at another time in a resumed training.
        loader.generator = torch.Generator().manual_seed(_seed(runner.seed, step))
        set_random_seed(_seed(runner.seed, step))

    def after_train_iter(self, runner: Any, *args, **kwargs) -> None:
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            set_random_seed(_seed(runner.seed, runner.iter + 1))
            assert self._batches is not None
            self._batches.first = runner.iter + 1  # for the workers of a next pass over the data

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            set_random_seed(_seed(runner.seed, runner.iter))


class _BatchSeeds:
    """Collates batches, and seeds the random numbers of the worker that made one for the batch that it makes next.

    Workers take the batches of a pass over the data in turn, beginning with the first worker; so each knows the numbers
    of its batches, also after a training was resumed at a batch that was another worker's before.

    Args:
        loader: Whose functions these take the place of.
        runner: For its seed and the process's place among others.
        length: Batches of a pass, after which workers that live on begin the next; None for a pass without end.
    """

    def __init__(self, loader: Any, runner: Any, length: int | None) -> None:
        self.first = 0  # number of the first batch of a pass
        self._collate, self._start = loader.collate_fn, loader.worker_init_fn
        self._of_run = (runner.seed, runner.rank + 1)
        self._length = length
        self._place = 0  # of the worker's batch in its pass

    def start(self, worker: int) -> None:
        """In a worker that begins."""
        if self._start is not None:
            self._start(worker)
        self._place = worker
        self._reseed()

    def __call__(self, samples: Any) -> Any:
        batch = self._collate(samples)
        worker = get_worker_info()
        if worker is not None:
            self._place += worker.num_workers
            if self._length is not None and self._place >= self._length:
                self.first, self._place = self.first + self._length, worker.id
            self._reseed()
        return batch

    def _reseed(self) -> None:
        # mmengine's function for workers: `set_random_seed` would ask a forked process for its GPUs.
        worker_init_fn(0, num_workers=1, rank=0, seed=_seed(*self._of_run, self.first + self._place))


def _seed(*numbers: int) -> int:
    """Seed of an epoch, an iteration or a batch; numpy's hash keeps the streams of neighbours apart."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
