"""What happens during a training: the order of memory, averaged weights, random numbers."""

import functools
from typing import Any

import numpy as np
import torch
from mmengine.dataset import worker_init_fn
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, set_random_seed
from torch import Tensor, nn

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

    Random numbers begin anew with every epoch, from the run's seed and the number of the epoch, in the process and in
    its workers; in a loop of iterations with every iteration. So no checkpoint need hold their state.

    This holds on one kind of device whose kernels are deterministic, for the same number of processes, workers and
    threads, for checkpoints at the end of an epoch (in a loop of iterations: at any) and of whole accumulated steps. It
    does not hold for workers that live on between epochs (``persistent_workers``; ``tools/train.py`` turns them off),
    for workers in a loop of iterations, whose augmentations go on from new random numbers, nor for what mmengine leaves
    out of its checkpoints: the patience that ``EarlyStoppingHook`` has used up, and the score of an epoch whose
    validation was cut short.
    """

    priority = 'VERY_LOW'  # behind whatever other hooks draw

    def before_train_epoch(self, runner: Any) -> None:
        loader = runner.train_dataloader
        by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop)
        step = runner.iter if by_iteration else runner.epoch
        start = loader.worker_init_fn
        if isinstance(start, functools.partial) and start.func is worker_init_fn:
            loader.worker_init_fn = functools.partial(start, seed=_seed_of(runner, step))
        # An iterator draws the seed of its workers when it begins, which is at another time in a resumed training.
        loader.generator = torch.Generator().manual_seed(_seed_of(runner, step))
        set_random_seed(_seed_of(runner, step))

    def after_train_iter(self, runner: Any, *args, **kwargs) -> None:
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            set_random_seed(_seed_of(runner, runner.iter + 1))

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            set_random_seed(_seed_of(runner, runner.iter))


def _seed_of(runner: Any, step: int) -> int:
    """Seed of an epoch or iteration; numpy's hash keeps the streams of neighbours apart."""
    return int(np.random.SeedSequence([runner.seed, step]).generate_state(1)[0] >> 1)  # room for a worker's number
