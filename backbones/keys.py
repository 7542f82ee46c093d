"""Key tables that turn a published checkpoint into ours, and the checks that nothing is lost on the way.

A table maps patterns of published keys to ours. `{name}` in a pattern stands for one part of a key (no dot),
`{name...}` for the rest of it; in the target the same name puts it back and `{name-1}` or `{name+2}` counts from it.
`None` drops a key on purpose. Every key must be covered by a row, and the first row that fits is taken.
"""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn

__all__ = ['check_fit', 'convert', 'is_ours', 'join', 'moves', 'rename', 'unwrap']

_CONTAINERS = (
    *('state_dict_ema', 'model_ema', 'ema_state_dict', 'ema'),
    *('state_dict', 'model', 'model_state', 'model_state_dict', 'module'),
)
_WRAPPERS = ('_orig_mod.', 'module.')
_FIELD = re.compile(r'\{(\w+)(\.\.\.|[+-]\d+)?\}')


def unwrap(checkpoint: Mapping, first: str = '') -> dict[str, torch.Tensor]:
    """The state dict inside a training checkpoint, without the prefixes of wrappers.

    Averaged weights are taken where the file holds both, as timm does; mmengine's files (with `meta`) have them under
    `state_dict`, and those of the last step under `ema_state_dict`.

    Args:
        checkpoint: State dict, or a mapping that holds one under `model`, `state_dict` or an EMA name.
        first: The name that comes before all others, `StagedBackbone.published`.

    Raises:
        ValueError: There is no state dict in it.
    """
    state = checkpoint
    while isinstance(state, Mapping) and not _is_state(state):
        order = (first, *(['state_dict'] if 'meta' in state else []), *_CONTAINERS)
        inner = next((state[key] for key in order if isinstance(state.get(key), Mapping)), None)
        if inner is None:
            raise ValueError(
                'A checkpoint must be a state dict or hold one under one of '
                f'{", ".join(_CONTAINERS)}, but this one holds {_some(map(str, state)) or "nothing"}: give the file '
                'that training saved.'
            )
        state = inner
    if not isinstance(state, Mapping):
        raise ValueError(f'A checkpoint must be a mapping of names to tensors, but got {type(checkpoint).__name__}.')
    result = {}
    for key, value in state.items():
        while key.startswith(_WRAPPERS):
            key = key.split('.', 1)[1]
        result[key] = value
    return result


def _is_state(state: Mapping) -> bool:
    return bool(state) and all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items())


def rename(state: Mapping[str, torch.Tensor], table: Mapping[str, str | None]) -> dict[str, torch.Tensor]:
    """Apply a key table.

    Args:
        state: Published keys and tensors.
        table: Pattern -> target, or None to drop the key.

    Returns:
        Our keys and the same tensors.

    Raises:
        ValueError: A key that no row covers, or two keys with one target.
    """
    rows = [(_compile(pattern), target) for pattern, target in table.items()]
    result, unknown, twice = {}, [], []
    for key, value in state.items():
        match, target = next(((m, target) for row, target in rows if (m := row.fullmatch(key))), (None, None))
        if match is None:
            unknown.append(key)
        elif target is not None:
            new = _fill(target, match.groupdict())
            twice += [new] if new in result else []
            result[new] = value
    if unknown or twice:
        raise ValueError(
            'A published checkpoint must hold the keys of its layout and no others, but here are '
            + '; '.join(
                f'{what}: {_some(which)}' for which, what in ((unknown, 'unknown'), (twice, 'met twice')) if which
            )
            + '. Is it a checkpoint of another model?'
        )
    return result


def join(state: Mapping[str, torch.Tensor], table: Mapping[str, Sequence[str]]) -> dict[str, torch.Tensor]:
    """Concatenate tensors of several keys into one, along the first axis: three projections that are one of ours.

    Patterns are those of a key table, as `{'{at...}.qkv.{of...}': ('{at...}.q.{of...}', '{at...}.k.{of...}')}`. Of
    counters, which have no axis, the first stands for all.

    Args:
        state: Keys and tensors; keys that no row covers stay.
        table: Target -> patterns of its parts, in their order.

    Returns:
        The same with one key in place of the parts of each row.

    Raises:
        ValueError: A part is there and another of the same target is not, or the target is there already.
    """
    rows = [(target, parts, [*map(_compile, parts)]) for target, parts in table.items()]
    result = {}
    for key, value in state.items():
        fits = ((match, *row[:2]) for row in rows for pattern in row[2] if (match := pattern.fullmatch(key)))
        match, target, parts = next(fits, (None, key, ()))
        if match is None:
            result[key] = value
            continue
        new, *parts = (_fill(name, match.groupdict()) for name in (target, *parts))
        if new in state or not all(part in state for part in parts):
            raise ValueError(
                f'A checkpoint must hold either {new} or all its parts, {_some(parts)}, but this one holds '
                f'{_some(name for name in (new, *parts) if name in state)}. Is the file whole?'
            )
        shapes = [tuple(state[part].shape) for part in parts]
        if len({(len(shape), shape[1:]) for shape in shapes}) > 1:
            raise ValueError(f'All of {_some(parts)} must have one shape but for the first axis, but got {shapes}.')
        if new not in result:
            result[new] = torch.cat([state[part] for part in parts]) if value.ndim else value
    return result


def moves(names: Mapping[str, str]) -> dict[str, str | None]:
    """Table that moves modules with all that is in them, and leaves everything else where it is.

    Args:
        names: Name of a module -> where it goes.
    """
    return {**{f'{old}.{{rest...}}': f'{new}.{{rest}}' for old, new in names.items()}, '{all...}': '{all}'}


def is_ours(model: nn.Module, state: Mapping[str, torch.Tensor]) -> bool:
    """Whether a state dict has this project's keys already (most of them, as the classifier may differ)."""
    own = model.state_dict().keys()
    return 2 * sum(key in state for key in own) > len(own)


def _compile(pattern: str) -> re.Pattern:
    """`a.{b}.{c...}` -> a regular expression with a group per name."""
    parts, end = [], 0
    for field in _FIELD.finditer(pattern):
        part = r'.+' if field[2] == '...' else r'[^.]+'
        parts += [re.escape(pattern[end : field.start()]), f'(?P<{field[1]}>{part})']
        end = field.end()
    return re.compile(''.join(parts) + re.escape(pattern[end:]))


def _fill(target: str, parts: dict[str, str]) -> str:
    def put(field: re.Match) -> str:
        shift = field[2] if field[2] and field[2] != '...' else None
        return str(int(parts[field[1]]) + int(shift)) if shift else parts[field[1]]

    return _FIELD.sub(put, target)


def check_fit(model: nn.Module, state: dict[str, torch.Tensor], adapt: Iterable[str] = ()) -> dict[str, torch.Tensor]:
    """`state` with every key and shape that `model` has, or an error that lists what differs.

    Counters of batch normalisation, which published files may lack, are filled in; weights of parts that a feature
    extractor pruned away (prefixes in `model.pruned`), and of a head that a model without classes lacks, are left out.

    Args:
        model: Model that the state is for.
        state: Our keys.
        adapt: Prefixes of keys whose shape may differ, since timm adapts them (classifier, first convolution).

    Raises:
        ValueError: Keys are missing or left over, or shapes differ.
    """
    own = model.state_dict()
    absent = (*getattr(model, 'pruned', ()), *(() if getattr(model, 'num_classes', 1) else ('head',)))
    state = {key: value for key, value in state.items() if key in own or not key.startswith(absent)}
    counters = {key: own[key].detach().clone() for key in own if key.endswith('.num_batches_tracked')}
    state = {**{key: value for key, value in counters.items() if key not in state}, **state}
    adapt = tuple(adapt)
    wrong = [
        f'{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}'
        for key in own
        if key in state and state[key].shape != own[key].shape and not key.startswith(adapt)
    ]
    problems = [
        (sorted(set(own) - set(state)), 'missing'),
        (sorted(set(state) - set(own)), 'left over'),
        (wrong, 'of another shape'),
    ]
    if any(which for which, _ in problems):
        name = (getattr(model, 'pretrained_cfg', None) or {}).get('architecture') or type(model).__name__
        raise ValueError(
            f'A checkpoint for {name} must hold exactly its weights, but here are '
            + '; '.join(f'{len(which)} keys {what}: {_some(which)}' for which, what in problems if which)
            + '. Name the variant and constructor arguments that the checkpoint was trained with.'
        )
    return state


def convert(model: nn.Module, state_dict: Mapping) -> dict[str, torch.Tensor]:
    """A published checkpoint in this project's keys, ready for `model.load_state_dict(..., strict=True)`.

    Index tables that a model derives itself are dropped, counters that a file lacks are filled in, and tensors that a
    published loader resizes are resized likewise. A state dict that has our keys already passes through.

    Args:
        model: A model of this project, or timm's feature extractor around one.
        state_dict: Published state dict or training checkpoint, in any of its containers.

    Returns:
        State dict with exactly the keys and shapes of `model`.

    Raises:
        ValueError: `model` is not of this project, or keys are unknown, missing, left over or of another shape.
    """
    inner = getattr(model, 'model', model)
    filter_fn = getattr(sys.modules[type(inner).__module__], 'checkpoint_filter_fn', None)
    if filter_fn is None or not type(inner).__module__.startswith(__name__.split('.')[0] + '.'):
        raise ValueError(
            f'convert needs a model of this project, but got {type(model).__name__}: make it with timm.create_model '
            'after `import backbones`.'
        )
    state = check_fit(inner, filter_fn(state_dict, inner))
    return state if inner is model else {f'model.{key}': value for key, value in state.items()}


def _some(items: Iterable[str], most: int = 8) -> str:
    """The first few of a list, and how many more there are."""
    items = list(items)
    return ', '.join(items[:most]) + (f' and {len(items) - most} more' if len(items) > most else '')
