"""Facts of published trainings that every classifier's config keeps to, each of what mmengine builds of it."""

import functools
import json
import math
import re
from types import SimpleNamespace
from typing import Any

import mm_runs
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS
from mmpretrain.registry import TRANSFORMS
from timm.scheduler import CosineLRScheduler


def check(path: str, config: Config) -> None:
    """All of them."""
    text = (mm_runs.ROOT / path).read_text()
    head = text.split('\n_base_')[0]
    schedulers: Any = config.get('param_scheduler') or [Config({'by_epoch': False})]
    if schedulers[0].by_epoch and not schedulers[0].get('convert_to_iter_based'):
        _check_rates(json.dumps([*schedulers], default=vars), config.optim_wrapper.optimizer.lr)
        assert config.train_cfg.max_epochs - schedulers[1].end in (0, 10)  # of which the last have the least rate
    hooks: Any = config.get('custom_hooks') or []
    for hook in hooks:
        if hook.type == 'SwitchRecipeHook':
            _check_mixing(hook)
        if 'EMA' in hook.type:  # as timm's and CVNets' averages: statistics of other weights would spoil a validation
            assert hook.update_buffers
    for settings in _steps(config, 'RandAugment'):
        _check_changes(settings, config, 'STEP' in head)
    for resize in _steps(config, 'ResizeEdge', 'test'):
        if resize.edge == 'short':
            _check_cut(resize.scale, _steps(config, 'CenterCrop', 'test')[0].crop_size)
    if bases := re.findall(r'_base_/schedules/\w+\.py', text):
        official = any('`--amp`' in (mm_runs.ROOT / 'configs' / base).read_text() for base in bases)
        assert ('--amp' in head) == (official and 'float32' not in head)


@functools.cache
def _check_rates(schedulers: str, lr: float) -> None:
    """Rates that stay the same for an epoch are timm's, with warm-ups of as many epochs as are published."""
    config = Config({'param_scheduler': json.loads(schedulers), 'optim_wrapper': {'optimizer': {'lr': lr}}})
    warm_up, cosine = config.param_scheduler[:2]
    epochs = warm_up.end - 1
    assert epochs in (3, 5, 20, 30)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    published = CosineLRScheduler(
        optimizer,
        t_initial=cosine.end,
        lr_min=cosine.eta_min,
        warmup_t=epochs,
        warmup_lr_init=lr * warm_up.start_factor,
    )
    wanted = []
    for epoch in range(config.param_scheduler[-1].end):
        published.step(epoch)
        wanted.append(optimizer.param_groups[0]['lr'])
    config.train_cfg = dict(max_epochs=len(wanted))
    assert mm_runs.rates(config, 1) == pytest.approx(wanted, rel=0.025)  # mmengine's warm-up follows the cosine too


def _check_mixing(settings: Any) -> None:
    """Pictures are mixed for the published number of epochs."""
    hook = HOOKS.build(settings)
    model: Any = torch.nn.Module()
    model.data_preprocessor = SimpleNamespace(batch_augments='mixed')
    mixed = 0
    for epoch in range(400):
        hook.before_train_epoch(SimpleNamespace(epoch=epoch, model=model, logger=SimpleNamespace(info=print)))
        mixed += model.data_preprocessor.batch_augments is not None
    assert mixed in (200, 250)


def _check_changes(settings: Any, config: Config, step: bool) -> None:
    """Bent pictures are filled with the mean, bicubically, as timm does it (with black where it is torchvision's).

    STEP leaves ten of timm's operations out.
    """
    mean = tuple(round(value) for value in config.data_preprocessor.mean[::-1])
    operations = list(TRANSFORMS.build(settings))
    bent = [operation for operation in operations if hasattr(operation, 'interpolation')]
    assert bent
    for operation in bent:
        black = operation.interpolation == 'bilinear' and operation.pad_val == 0
        assert black or (operation.interpolation, operation.pad_val) == ('bicubic', mean)
    if step:
        kinds = [type(operation).__name__ for operation in operations]
        assert kinds == ['Equalize', 'Rotate', 'Shear', 'Translate', 'Translate']


def _check_cut(scale: int, side: int) -> None:
    """Tests crop a published part of a side; it is resized to the whole pixels below the crop over its part."""
    assert scale in [math.floor(side / part) for part in (1.0, 0.96, 0.95, 0.9, 8 / 9, 0.875)]


def _steps(config: Config, kind: str, split: str = 'train') -> list:
    return [step for step in config[f'{split}_dataloader'].dataset.pipeline if step.type == kind]
