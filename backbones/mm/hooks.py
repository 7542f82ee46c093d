"""What happens during a training: the order of memory, averaged weights, random numbers, checkpoints."""

import os
from typing import Any

import numpy as np
import torch
from mmengine.dataset import worker_init_fn
from mmengine.dist import broadcast, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, set_random_seed
from torch import Tensor, nn
from torch.utils.data import get_worker_info

from .files import WholeFileBackend

__all__ = [
    'ChannelsLastHook',
    'ClassifierEMAHook',
    'ResumableCheckpointHook',
    'ResumableEarlyStoppingHook',
    'ResumeExactHook',
]


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keeps the maps of a training with their channels last in memory, where convolutions are faster that way.

    Raises:
        ValueError: The model has an operator of mmcv's, which reads memory as NCHW whatever the strides say.
    """

    def before_run(self, runner: Any) -> None:
        """Maps take the order of the weights that made them."""
        blind = {type(m).__name__ for m in runner.model.modules() if type(m).__module__.startswith('mmcv.ops')}
        if blind:
            raise ValueError(
                f'ChannelsLastHook must not be among the hooks of a model with {", ".join(sorted(blind))}, which would '
                'take other values than those of its maps: remove it.'
            )
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
    `_BatchSeeds`). So no checkpoint need hold their state. Several processes validate with the averages of the first
    one (statistics of norms), which are those that a checkpoint holds.

    This holds on one kind of device whose kernels are deterministic, for the same number of processes, workers and
    threads, for checkpoints at the end of an epoch (in a loop of iterations: at any), which hold the gradients of a
    step that is not yet whole; with several processes, whose gradients differ, for those of whole accumulated steps. It
    does not hold for a loop of iterations over a sampler that ends, for batches out of order (``in_order=False``), for
    transforms that keep pictures in workers that live on (``CachedMosaic`` with ``persistent_workers``), nor for the
    patience of mmengine's ``EarlyStoppingHook``, which `ResumableEarlyStoppingHook` keeps.
    """

    priority = 'VERY_LOW'  # behind whatever other hooks draw, and behind the averaged weights

    def __init__(self) -> None:
        self._batches: _BatchSeeds | None = None

    def before_train_epoch(self, runner: Any) -> None:
        loader = runner.train_dataloader
        by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop)
        if self._batches is None:
            self._batches = _BatchSeeds(loader, runner, None if by_iteration else len(loader))
            loader.worker_init_fn, loader.collate_fn = self._batches.start, self._batches
        # What cannot be skipped mmengine makes again when a loop of iterations is resumed, from the first batch on.
        self._batches.first = 0 if by_iteration and not hasattr(loader.sampler, 'skip') else runner.iter
        # An iterator draws the seed of its workers when it begins, which is at another time in a resumed training.
        loader.generator = torch.Generator().manual_seed(_seed(runner.seed, _step(runner)))
        set_random_seed(_seed(runner.seed, _step(runner)))

    def after_train_iter(self, runner: Any, *args, **kwargs) -> None:
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            set_random_seed(_seed(runner.seed, runner.iter + 1))
            assert self._batches is not None
            self._batches.first = runner.iter + 1  # for the workers of a next pass over the data

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        if 'optimizer' in checkpoint and get_world_size() == 1:
            found = {name: weight.grad for name, weight in runner.model.named_parameters()}
            checkpoint['gradients'] = {name: grad.cpu() for name, grad in found.items() if grad is not None}

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        gradients = checkpoint.get('gradients') or {}
        if runner._resume and get_world_size() == 1:
            for name, weight in runner.model.named_parameters():
                weight.grad = gradients[name].to(weight) if name in gradients else None

    def before_val_epoch(self, runner: Any) -> None:
        for module in runner.model.modules():
            for name, buffer in module.named_buffers(recurse=False):
                if name not in module._non_persistent_buffers_set:  # an average, of other pictures in each process
                    broadcast(buffer)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            set_random_seed(_seed(runner.seed, runner.iter))


@HOOKS.register_module()
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """mmengine's early end, whose patience a training that goes on has used up as far as when it was stopped."""

    priority = 'LOW'  # before the checkpoint that a best score writes again

    def before_train(self, runner: Any) -> None:
        state = runner.message_hub.get_info('early_stopping')
        if state is None:
            return
        self.wait_count, self.best_score = state['wait_count'], state['best_score']
        threshold = self.stopping_threshold
        reached = threshold is not None and self.rule_map[self.rule](self.best_score, threshold)
        runner.train_loop.stop_training = reached or self.wait_count >= self.patience

    def after_val_epoch(self, runner: Any, metrics: dict[str, float]) -> None:
        super().after_val_epoch(runner, metrics)
        state = {'wait_count': self.wait_count, 'best_score': float(self.best_score)}
        runner.message_hub.update_info('early_stopping', state)


@HOOKS.register_module()
class ResumableCheckpointHook(CheckpointHook):
    """mmengine's checkpoints, such that a training stopped at any moment ends with the same best one when it goes on.

    A checkpoint says which validation was the last to be done before it was written; a training that goes on from one
    whose own validation was due and is not done begins with that. The best checkpoint up to now is removed when the
    next is whole, where mmengine removes it before.
    """

    def before_train(self, runner: Any) -> None:
        super().before_train(runner)
        if isinstance(self.file_backend, WholeFileBackend) and is_main_process():
            self.file_backend.tidy(self.out_dir)
        last = runner.message_hub.get_info('last_ckpt')
        if last is not None:  # of a training that goes on; it is written again with what the validation found
            self.last_ckpt = self._here(last)
        if self.save_best:
            self._set_best({key: path and self._here(path) for key, path in self._best().items()})
        if _lacks_validation(runner):
            runner.logger.info('The validation of the checkpoint was cut short or is not noted in it, and is done now.')
            runner.val_loop.run()

    def after_val_epoch(self, runner: Any, metrics: dict[str, float]) -> None:
        runner.message_hub.update_info('step_validated', _step(runner))
        super().after_val_epoch(runner, metrics)

    def _save_best_checkpoint(self, runner: Any, metrics: dict[str, float]) -> None:
        if not self.save_best:
            return
        unknown = [name for name in self.key_indicators if name not in metrics and name != 'auto']
        if unknown:
            raise ValueError(
                f'save_best must name a metric of the validation ({", ".join(metrics)}), but names {unknown[0]}: name '
                'one, and go on from the last checkpoint'
            )
        before, last = self._best(), self.last_ckpt
        backend: Any = self.file_backend
        # Hidden from mmengine, which would remove the best ones before, and write the last one while they lie there.
        self._set_best(dict.fromkeys(before))
        self.last_ckpt = None
        super()._save_best_checkpoint(runner, metrics)
        self.last_ckpt, written = last, {key: path for key, path in self._best().items() if path}
        self._set_best({**before, **written})
        for key, path in written.items():
            old = before.get(key)
            if old and old != path and is_main_process() and backend.exists(old):
                (backend.rmtree if backend.isdir(old) else backend.remove)(old)  # strategies may write folders
                runner.logger.info(f'The previous best checkpoint {old} is removed')
        if written and last is not None:
            step = runner.epoch if self.by_epoch else runner.iter
            self._save_checkpoint_with_step(runner, step, meta={'epoch': runner.epoch, 'iter': runner.iter})

    def _here(self, path: str) -> str:
        """A file of this training, whose folder may have moved; never one of the training that it goes on from."""
        return str(self.file_backend.join_path(self.out_dir, os.path.basename(path)))

    def _best(self) -> dict[str, str | None]:
        """Metric -> its best checkpoint; mmengine keeps that of a single metric elsewhere."""
        return {'': self.best_ckpt_path} if len(self.key_indicators) == 1 else dict(self.best_ckpt_path_dict)

    def _set_best(self, paths: dict[str, Any]) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = paths['']
        else:
            self.best_ckpt_path_dict = paths


def _step(runner: Any) -> int:
    """What a loop counts: its epochs or its iterations."""
    return runner.iter if isinstance(runner.train_loop, IterBasedTrainLoop) else runner.epoch


def _lacks_validation(runner: Any) -> bool:
    """Whether a training goes on from a checkpoint behind which its loop would have validated, and did not."""
    loop, step = runner.train_loop, _step(runner)
    if not isinstance(loop, (EpochBasedTrainLoop, IterBasedTrainLoop)) or runner.val_loop is None:
        return False
    if step == 0 or runner.message_hub.get_info('step_validated') == step:
        return False
    loop._decide_current_val_interval()
    end = loop.max_iters if isinstance(loop, IterBasedTrainLoop) else loop.max_epochs
    return step >= loop.val_begin and (step % loop.val_interval == 0 or step == end)


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
