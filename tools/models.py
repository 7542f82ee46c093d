"""Models by name, for the tools."""

import argparse
import ast
import contextlib
import difflib
import statistics
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_FEATURES = ('features_only', 'out_indices', 'feature_cls')  # what timm's extractor takes, and no model


def add_kwargs(parser: argparse.ArgumentParser) -> None:
    """`--model-kwargs KEY=VALUE ...`, as timm's own scripts have it."""
    parser.add_argument(
        '--model-kwargs',
        nargs='+',
        default=(),
        metavar='KEY=VALUE',
        help='arguments of the model, e.g. num_steps=2 dims=48,96,192',
    )


def check_name(name: str, option: str) -> None:
    """Refuse what timm does not know.

    Raises:
        ValueError: There is no such model.
    """
    import timm

    import backbones  # noqa: F401 (registers our models)

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f'did you mean {", ".join(near)}?' if near else '`timm.list_models()` has all names.'
        raise ValueError(f'{option}: there is no model {name!r}: {hint}')


def family(name: str) -> str:
    """Module in which a network is registered with timm."""
    import timm

    return timm.model_entrypoint(name).__module__


def is_ours(name: str) -> bool:
    """Whether a network is one of this project's, not timm's own."""
    return family(name).startswith('backbones.')


def takes_any_size(name: str) -> bool:
    """Whether a network takes pictures of any size as it is, which of timm's own is not known."""
    import timm

    return is_ours(name) and not getattr(timm.models.get_pretrained_cfg(name), 'fixed_input_size', False)


def create(
    name: str, option: str = '--model', words: Sequence[str] = (), checkpoint: str | None = None, **kwargs: Any
) -> Any:
    """`timm.create_model`, where a user's mistake is a sentence.

    Args:
        name: A name of ours or of timm's own.
        option: Word of the command line that gave the name.
        words: What `--model-kwargs` gave.
        checkpoint: File of weights, in any layout that the model can be loaded from. All that the model has is in it,
            the classifier too, and it holds nothing else but what a pyramid or a model without classes leaves out.
        **kwargs: Further arguments of the model.

    Raises:
        ValueError: There is no such model, an argument is none of the model's or no KEY=VALUE, or the file holds no
            weights of the model, or those for another number of classes.
    """
    import timm

    check_name(name, option)
    kwargs.update(keywords(words))
    try:
        model = _load(name, checkpoint, kwargs) if checkpoint else timm.create_model(name, **kwargs)
    except (AssertionError, KeyError, RuntimeError, TypeError) as error:  # how timm's own models refuse arguments
        if isinstance(error, ValueError) or not kwargs:  # an argument that ours do not have is told in a sentence
            raise
        raise ValueError(f'{name} cannot be made with {_listed(kwargs)}: {short(error)}') from error
    _follow_channels(model, kwargs.get('in_chans'))
    return model


def _follow_channels(model: Any, channels: int | None) -> None:
    """Let the config speak of as many channels, with the means of mean and standard deviation, as timm's loader."""
    cfg = getattr(model, 'pretrained_cfg', {})
    if channels is None or channels == (cfg.get('input_size') or (channels,))[0]:
        return
    cfg['input_size'] = (channels, *cfg['input_size'][1:])
    for key in ('mean', 'std'):
        if cfg.get(key):
            cfg[key] = (statistics.fmean(cfg[key]),) * channels


def origin(checkpoint: str | None) -> dict[str, Any]:
    """Where the weights of an exported model come from, as its metadata say it: not from those that timm would fetch.

    Args:
        checkpoint: The file that was loaded; None for random weights.

    Returns:
        `weights` ('random', or name and hash of the file), their `licence`, which is that of the catalogue for a file
        that is listed there, and None for timm's `tag` and `origin`.
    """
    facts: dict[str, Any] = {'tag': None, 'origin': None, 'licence': None, 'weights': 'random'}
    if checkpoint:
        from backbones.checkpoints import catalogue, sha256

        digest = sha256(checkpoint)
        listed = (row['licence'] for row in catalogue() if row.get('sha256') == digest)
        facts |= {'licence': next(listed, 'unknown'), 'weights': {'file': Path(checkpoint).name, 'sha256': digest}}
    return facts


def _load(name: str, checkpoint: str, kwargs: dict[str, Any]) -> Any:
    """The model with all weights of the file: timm drops a classifier of other classes, and then what is missing too.

    Raises:
        ValueError: They do not fit.
    """
    import timm

    from backbones.build import UnknownArgument
    from backbones.checkpoints import load_checkpoint
    from backbones.keys import unwrap

    ours = is_ours(name)
    cfg: Any = timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg()
    classes = kwargs.get('num_classes', cfg.num_classes)
    headless = bool(kwargs.get('features_only')) or not classes
    overlay = {'file': checkpoint} if ours else {'state_dict': unwrap(load_checkpoint(checkpoint))}
    overlay |= {} if headless else {'num_classes': classes}
    try:
        with _loads() as loads:
            model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **kwargs)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, UnknownArgument) or 'keyword argument' in str(error):
            raise
        if not headless:
            _check_classes(name, checkpoint, cfg.classifier, classes)
        if ours:  # they say it in a sentence
            raise
        raise ValueError(f'{checkpoint} holds no weights of {name}: {short(error)}') from error
    for part in (model, getattr(model, 'model', model)):  # an extractor has a copy of the config
        getattr(part, 'pretrained_cfg', {}).pop('state_dict', None)
    if not ours:  # ours are held against their tables
        _check_whole(name, checkpoint, loads, kwargs if headless else None)
    return model


@contextlib.contextmanager
def _loads() -> Iterator[list[Any]]:
    """What every `load_state_dict` meanwhile found missing and left over, which timm writes to its log alone."""
    from torch import nn

    plain, found = nn.Module.load_state_dict, []

    def load(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        found.append(plain(module, *args, **kwargs))
        return found[-1]

    nn.Module.load_state_dict = load  # type: ignore[method-assign]
    try:
        yield found
    finally:
        nn.Module.load_state_dict = plain  # type: ignore[method-assign]


def _check_whole(name: str, checkpoint: str, loads: list[Any], kwargs: dict[str, Any] | None) -> None:
    """Refuse weights that are not all there; with the `kwargs` of a model without classes, its classifier may be away.

    Raises:
        ValueError: Keys are missing, or left over that the whole model does not have.
    """
    import timm

    missing = {key for load in loads for key in load.missing_keys}
    surplus = {key for load in loads for key in load.unexpected_keys}
    if kwargs is None:
        surplus = set()  # what timm itself lets pass: auxiliary heads that were trained along
    elif missing or surplus:
        whole: Any = timm.create_model(
            name, **{k: v for k, v in kwargs.items() if k not in ('num_classes', *_FEATURES)}
        )
        surplus -= whole.state_dict().keys()
        heads = tuple(f'{head}.' for head in _names(whole.pretrained_cfg.get('classifier')))
        missing = {key for key in missing if not key.startswith(heads)}
    if missing or surplus:
        raise ValueError(
            f'{checkpoint} must hold the weights of {name}, but of its keys {len(missing)} are missing '
            f'{sorted(missing)[:3]} and {len(surplus)} left over {sorted(surplus)[:3]}: give the file of this model.'
        )


def _check_classes(name: str, checkpoint: str, classifier: str | Sequence[str] | None, classes: int) -> None:
    """Say so where a file does not fit because its classifier has other classes."""
    from backbones.checkpoints import load_checkpoint
    from backbones.keys import unwrap

    state = unwrap(load_checkpoint(checkpoint))
    keys = [key for head in _names(classifier) for key in (f'{head}.weight', f'{head}.bias')]
    found = next((len(state[key]) for key in keys if key in state), classes)
    if found != classes:
        raise ValueError(
            f'{checkpoint} must hold a classifier of {classes} classes, as {name} is made with, but holds one of '
            f'{found}: give num_classes={found}.'
        )


def _names(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """timm names one module as text, several in a tuple."""
    return (names,) if isinstance(names, str) else tuple(names or ())


def _listed(kwargs: Mapping[str, Any]) -> str:
    return ', '.join(f'{key}={value!r}' for key, value in kwargs.items())


def short(error: BaseException) -> str:
    """The message in one line; torch's lists every key, and that of a missing key says nothing else."""
    text = str(error)
    if isinstance(error, KeyError) or not text:
        text = f'{type(error).__name__}: {text}'
    return textwrap.shorten(text, 300, placeholder=' ...')


def keywords(words: Sequence[str]) -> dict[str, Any]:
    """What `--model-kwargs` gave: values as Python has them, text where it has none.

    Raises:
        ValueError: A word is no KEY=VALUE.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition('=')
        if not equals or not key.isidentifier():
            raise ValueError(f'--model-kwargs takes KEY=VALUE, but got {word!r}.')
        try:
            found[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[key] = text
    return found
