"""Tensors that depend on sizes alone: made once for eager calls, made anew inside a graph that is traced."""

from collections.abc import Callable, Hashable
from typing import Any

import torch

__all__ = ['constant', 'is_eager']

LARGEST = 2**20  # elements of what is kept for the next call: detectors meet many sizes of large maps
MOST = 64  # results that are kept, the newest

_kept: dict[Hashable, Any] = {}


def is_eager(x: torch.Tensor) -> bool:
    """Whether real numbers are computed now, and no graph is made."""
    return (
        type(x) in (torch.Tensor, torch.nn.Parameter)
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
    )


def constant(build: Callable[..., Any], *args: Any, like: torch.Tensor) -> Any:
    """`build(*args, dtype, device)`, kept for the next eager call unless it is large.

    Args:
        build: Function of the module level, which gives a tensor or a tuple of them and nothing else.
        args: Sizes and other plain values; in a traced graph sizes may be symbols.
        like: Tensor whose type and device are asked for.
    """
    if not is_eager(like):
        return build(*args, like.dtype, like.device)
    key = (build, *args, like.dtype, like.device)
    found = _kept.get(key)
    if found is None:
        with torch.inference_mode(False), torch.no_grad():  # an inference tensor could not be saved for a backward pass
            found = build(*args, like.dtype, like.device)
        if sum(t.numel() for t in (found if isinstance(found, tuple) else (found,))) <= LARGEST:
            _kept[key] = found
        for oldest in list(_kept)[:-MOST]:
            _kept.pop(oldest, None)
    return found
