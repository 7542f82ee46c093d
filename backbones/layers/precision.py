"""Arithmetic in float32 at least, whatever autocast asks for."""

import contextlib
from typing import Any

import torch

__all__ = ['full_precision', 'is_autocast', 'widened']


def is_autocast(x: torch.Tensor) -> bool:
    """Whether autocast is on, on the device of `x`."""
    kind = x.device.type
    return kind != 'meta' and torch.is_autocast_enabled(kind)


def full_precision(x: torch.Tensor) -> Any:
    """A context with autocast off on the device of `x`."""
    return torch.autocast(x.device.type, enabled=False) if is_autocast(x) else contextlib.nullcontext()


def widened(x: torch.Tensor) -> torch.Tensor:
    """`x` in float32, or in float64 where it is that."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
