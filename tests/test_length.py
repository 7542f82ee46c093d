"""Another length of a training."""

from typing import Any

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmpretrain')

import mm_runs
from mmengine.config import Config

from tools import length

PLACES = ('begin', 'end', 'T_max', 'milestones')


def places(config: Config, by_epoch: bool) -> list[list[Any]]:
    """Where the rates change, of each schedule that counts in this unit."""
    found = config.get('param_scheduler') or []
    found = found if isinstance(found, list) else [found]
    return [[s.get(key) for key in PLACES] for s in found if bool(s.get('by_epoch', True)) == by_epoch]


def tenfold(value: Any) -> Any:
    if isinstance(value, list):
        return [tenfold(entry) for entry in value]
    return value if value is None or value >= 10**9 else 10 * value  # the largest number stands for "to the end"


RUNNABLE = mm_runs.RUNNABLE.values()


@pytest.mark.parametrize(
    'path', [path if path in RUNNABLE else pytest.param(path, marks=pytest.mark.full) for path in mm_runs.CONFIGS]
)
def test_the_schedule_follows(path: str) -> None:
    """Ten times as long, each rate changes ten times later; what is counted in the other unit stays."""
    config = Config.fromfile(mm_runs.ROOT / path)
    epochs = config.train_cfg.get('max_epochs')
    old = epochs or config.train_cfg.max_iters
    before = {unit: places(config, unit) for unit in (True, False)}
    length.set_length(config, *((10 * old, None) if epochs else (None, 10 * old)))
    assert (config.train_cfg.get('max_epochs') or config.train_cfg.max_iters) == 10 * old
    assert places(config, bool(epochs)) == tenfold(before[bool(epochs)])
    assert places(config, not epochs) == before[not epochs]
    length.set_length(config, *((1, None) if epochs else (None, 1)))
    assert all(begin < end for begin, end, *_ in places(config, bool(epochs)) if begin is not None and end is not None)
    assert not before[bool(epochs)] or places(config, bool(epochs))


@pytest.mark.parametrize('path', mm_runs.RECIPES)
def test_a_short_training_has_the_rates_of_the_config(path: str) -> None:
    """A warm-up that is left one epoch, or less, does not hold the rate down for good."""
    config = Config.fromfile(mm_runs.ROOT / path)
    if not config.get('param_scheduler'):
        pytest.skip('one rate')
    length.set_length(config, 12, None)
    scheduler = config.param_scheduler[0]
    if not scheduler.get('by_epoch', True):
        pytest.skip('a warm-up of some iterations, whatever the length')
    assert max(mm_runs.rates(config, 20)) == pytest.approx(config.optim_wrapper.optimizer.lr, rel=0.1)


def test_a_warm_up_has_two_iterations_at_least() -> None:
    """mmengine's has the full rate at the last one."""
    warm_up = {'type': 'LinearLR', 'start_factor': 1e-3, 'by_epoch': False, 'begin': 0, 'end': 1500}
    config = Config({'train_cfg': {'max_iters': 160000}, 'param_scheduler': [warm_up]})
    length.set_length(config, None, 100)
    assert config.param_scheduler[0].end == 2


@pytest.mark.parametrize(
    'hook',
    [
        dict(type='SwitchRecipeHook', schedule=[dict(action_epoch=200, batch_augments=None)]),
        dict(type='PipelineSwitchHook', switch_epoch=200, switch_pipeline=[]),
    ],
)
def test_mixing_ends_at_the_same_part_of_a_training(hook: dict[str, Any]) -> None:
    config = Config({'train_cfg': {'max_epochs': 400}, 'custom_hooks': [hook, {'type': 'EMAHook', 'gamma': 200}]})
    length.set_length(config, 12, None)
    found, average = config.custom_hooks
    assert [part[key] for part in (found, *found.get('schedule', [])) for key in part if 'epoch' in key] == [6]
    assert average.gamma == 200  # of iterations


@pytest.mark.parametrize(
    ('epochs', 'iters', 'message'), [(None, 5, 'give --epochs'), (0, None, 'at least 1, but is 0')]
)
def test_mistakes(epochs: int | None, iters: int | None, message: str) -> None:
    config = Config({'train_cfg': {'max_epochs': 3}})
    with pytest.raises(ValueError, match=message):
        length.set_length(config, epochs, iters)
