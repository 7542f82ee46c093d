"""A registered variant, built as timm builds its own, from any file that its family can read."""

import difflib
import inspect
import textwrap
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from typing import Any

from timm.models import build_model_with_cfg
from torch import nn

from .base import StagedBackbone
from .checkpoints import load_checkpoint, plain_settings

__all__ = ['RATIOS', 'UnknownArgument', 'create']

RATIOS = {'mlp_ratio', 'mlp_ratios', 'token_ratio', 'expand', 'expand_ratios'}  # widths between, over the input's


def create(
    cls: Callable[..., StagedBackbone],
    variant: str,
    pretrained: bool,
    filter_fn: Callable[..., dict],
    **kwargs: Any,
) -> nn.Module:
    """Build a registered variant as timm does, with features through `forward_intermediates`.

    Args:
        cls: Family.
        variant: Registered name.
        pretrained: Whether to load the weights that the pretrained config names.
        filter_fn: The family's `checkpoint_filter_fn`.
        **kwargs: Arguments of the family and of timm.

    Raises:
        ValueError: An argument that the family does not have, feature levels that do not exist, or a weight file that
            is missing, broken, not plain weights, or of another model.
    """
    cfg, overlay = kwargs.get('pretrained_cfg'), dict(kwargs.get('pretrained_cfg_overlay') or {})
    named = {**(cfg if isinstance(cfg, dict) else {}), **overlay} if pretrained else {}
    file = None if named.get('source') else named.get('file')
    if file:  # read here, since timm would choose between weights and averages before the family does
        kwargs['pretrained_cfg_overlay'] = {**overlay, 'state_dict': load_checkpoint(file)}
    normed = getattr(cls, 'feature_norm', False) and kwargs.get('feature_cls', 'getter') == 'getter'
    features = {'out_indices': None, 'feature_cls': 'getter', **({'norm': True} if normed else {})}
    try:
        with plain_settings() if pretrained else nullcontext():  # timm reads what it downloads
            model = build_model_with_cfg(
                partial(_call, cls), variant, pretrained, pretrained_filter_fn=filter_fn, feature_cfg=features, **kwargs
            )
    except (RuntimeError, KeyError, AttributeError, TypeError) as error:
        if file is None or isinstance(error, UnknownArgument):
            raise
        raise ValueError(
            f'{file} must hold the weights of {variant}, but they do not go into it: '
            + textwrap.shorten(str(error) or type(error).__name__, 300, placeholder=' ...')
        ) from error
    if file:
        for part in (model, getattr(model, 'model', model)):  # an extractor has a copy of the config
            part.pretrained_cfg.pop('state_dict', None)
    return model


class UnknownArgument(TypeError, ValueError):
    """An argument that a family does not have: Python's error for it, and a user's mistake."""


def _call(cls: Callable[..., StagedBackbone], **kwargs: Any) -> StagedBackbone:
    """`cls(**kwargs)`, with a sentence about an argument that it does not have, or a rate or ratio that cannot be."""
    known = list(inspect.signature(cls).parameters)
    for name in kwargs:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3)
            raise UnknownArgument(
                f'{getattr(cls, "__name__", cls)} takes the arguments {", ".join(known)}, but got {name!r}'
                + (f': did you mean {" or ".join(near)}?' if near else '.')
            )
    rate = kwargs.get('drop_path_rate')
    if rate is not None and not 0 <= rate < 1:
        raise ValueError(f'drop_path_rate must lie in [0, 1), but got {rate}.')
    for name in RATIOS & kwargs.keys():
        values = kwargs[name] if isinstance(kwargs[name], Iterable) else [kwargs[name]]
        if not all(value > 0 for value in values):
            raise ValueError(f'{name} must be more than 0, but got {kwargs[name]}: it says how wide a layer is.')
    return cls(**kwargs)
