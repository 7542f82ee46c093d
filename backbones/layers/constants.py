"""Tensors that depend on sizes alone: made once for eager calls, made anew inside a graph that is traced."""

import functools
from collections.abc import Callable, Hashable
from typing import Any

import torch

__all__ = ['constant', 'is_eager']


def is_eager(x: torch.Tensor) -> bool:
    """Whether real numbers are computed now, and no graph is made."""
    return type(x) is torch.Tensor and not torch.compiler.is_compiling() and not torch.jit.is_tracing()


def constant(build: Callable[..., Any], *args: Any, like: torch.Tensor) -> Any:
    """`build(*args, dtype, device)`, kept for the next eager call.

    Args:
        build: Function of the module level, which gives a tensor or a tuple of them and nothing else.
        args: Sizes and other plain values; in a traced graph sizes may be symbols.
        like: Tensor whose type and device are asked for.
    """
    return (_kept if is_eager(like) else _call)(build, *args, like.dtype, like.device)


def _call(build: Callable, *args: Any) -> Any:
    return build(*args)


@functools.lru_cache(maxsize=64)
def _kept(build: Callable, *args: Hashable) -> Any:
    with torch.inference_mode(False), torch.no_grad():  # an inference tensor could not be saved for a backward pass
        return build(*args)
