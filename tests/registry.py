"""The registered backbones as test parameters: `@pytest.mark.parametrize('name', variants())`.

Tests state facts over the registry, never over a typed list of names. The default run takes the smallest variant of
each family, `make test-full` takes them all.
"""

import functools

import pytest
import timm
import torch
from timm.models import model_entrypoint

import backbones


@functools.cache
def families() -> dict[str, tuple[str, ...]]:
    """Family (the name of its module file) -> names of its variants, fewest parameters first."""
    found: dict[str, list[str]] = {}
    for name in backbones.list_models():
        found.setdefault(model_entrypoint(name).__module__.rpartition('.')[2], []).append(name)
    return {family: tuple(sorted(names, key=_size)) for family, names in sorted(found.items())}


def variants() -> list:
    """Every registered name as a `pytest.param`: the smallest of a family as it is, the others marked `full`."""
    return [
        pytest.param(name, marks=[pytest.mark.full] if rank else [])
        for names in families().values()
        for rank, name in enumerate(names)
    ]


def smallest() -> list[str]:
    """The name with the fewest parameters of each family."""
    return [names[0] for names in families().values()]


def _size(name: str) -> tuple[int, str]:
    """Sort key: number of parameters, then the name. Builds on the meta device, which allocates nothing."""
    try:
        with torch.device('meta'):
            model = timm.create_model(name)
    except (NotImplementedError, RuntimeError):  # a constructor that computes with values, which meta tensors lack
        model = timm.create_model(name)
    return sum(p.numel() for p in model.parameters()), name
