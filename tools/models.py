"""Models by name, for the tools."""

import argparse
import ast
import difflib
from collections.abc import Sequence
from typing import Any


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


def create(
    name: str, option: str = '--model', words: Sequence[str] = (), checkpoint: str | None = None, **kwargs: Any
) -> Any:
    """`timm.create_model`, where a user's mistake is a sentence.

    Args:
        name: A name of ours or of timm's own.
        option: Word of the command line that gave the name.
        words: What `--model-kwargs` gave.
        checkpoint: File of weights, in any layout that the model can be loaded from.
        **kwargs: Further arguments of the model.

    Raises:
        ValueError: There is no such model, an argument is no KEY=VALUE, or the file holds no weights of the model.
    """
    import timm

    check_name(name, option)
    kwargs.update(keywords(words))
    if checkpoint:
        kwargs.update(pretrained=True, pretrained_cfg_overlay={'file': checkpoint})
    try:
        return timm.create_model(name, **kwargs)
    except RuntimeError as error:  # how timm's own models refuse weights
        if not checkpoint:
            raise
        raise ValueError(f'{checkpoint} holds no weights of {name}: {error}') from error


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
