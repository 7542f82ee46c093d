"""Another length of a training, and of its schedule with it."""

from typing import Any


def set_length(config: Any, epochs: int | None, iters: int | None) -> None:
    """Stretch or shrink the schedule of a config as a whole, in place.

    What is counted in the same unit as the length follows it: begin, end, period and milestones of the rates, how often
    a training is measured and saved, the epochs at which hooks change mixing or pipeline. What is counted in the other
    unit, as a warm-up of some iterations in a training of epochs, stays as it is. A phase of the rates that is left no
    room drops out; a warm-up that is left one epoch goes up with its iterations.

    Args:
        config: Config with a `train_cfg`.
        epochs: The new length, for a config that counts epochs; None leaves it.
        iters: The new length, for a config that counts iterations; None leaves it.

    Raises:
        ValueError: The config counts in the other unit, or the length is not positive.
    """
    if epochs is None and iters is None:
        return
    loop = config.train_cfg
    by_epoch = bool(loop.get('max_epochs'))
    if (iters if by_epoch else epochs) is not None:
        given, wanted = ('--iters', '--epochs') if by_epoch else ('--epochs', '--iters')
        raise ValueError(f'{given} cannot be honoured: the training of this config is counted otherwise, give {wanted}')
    key, new = ('max_epochs', epochs) if by_epoch else ('max_iters', iters)
    if new is None or new < 1:
        raise ValueError(f'the length of a training must be at least 1, but is {new}')
    old = loop[key]
    schedulers = config.get('param_scheduler') or []
    schedulers = schedulers if isinstance(schedulers, list) else [schedulers]
    for scheduler in schedulers:
        if bool(scheduler.get('by_epoch', True)) == by_epoch:
            _scale(scheduler, ('begin', 'end', 'T_max', 'milestones'), new, old)
            _leave_steps(scheduler)
    config['param_scheduler'] = [s for s in schedulers if s.get('begin', 0) < s.get('end', float('inf'))]
    hook = (config.get('default_hooks') or {}).get('checkpoint') or {}
    if bool(hook.get('by_epoch', True)) == by_epoch:
        _scale(hook, ('interval',), new, old)
    _scale(loop, ('val_interval', 'val_begin'), new, old)
    for hook in (config.get('custom_hooks') or []) if by_epoch else []:
        for part in (
            hook,
            *(hook.get('schedule') or ()),
        ):  # of mmdet's PipelineSwitchHook, mmpretrain's SwitchRecipeHook
            _scale(part, ('switch_epoch', 'action_epoch'), new, old)
    loop[key] = new


def _leave_steps(scheduler: Any) -> None:
    """A warm-up of one step would leave the rate where it starts for good."""
    begin, end = scheduler.get('begin', 0), scheduler.get('end', float('inf'))
    if scheduler['type'] == 'LinearLR' and end - begin < 2:
        if scheduler.get('by_epoch', True):
            scheduler['convert_to_iter_based'] = True
        else:
            scheduler['end'] = begin + 2


def _scale(settings: Any, keys: tuple[str, ...], new: int, old: int) -> None:
    def scaled(value: int) -> int:
        return max(1, round(value * new / old)) if 0 < value < 10**9 else value

    for key in keys:
        value = settings.get(key)
        if isinstance(value, list):
            settings[key] = [scaled(entry) for entry in value]
        elif value is not None:
            settings[key] = scaled(value)
