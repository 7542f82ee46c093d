"""Arithmetic in float32 at least, whatever autocast asks for."""

import contextlib
from typing import Any

import torch

__all__ = ['full_precision', 'widened']


def full_precision(x: torch.Tensor) -> Any:
    """A context with autocast off on the device of `x`."""
    kind = x.device.type
    on = kind != 'meta' and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if on else contextlib.nullcontext()


def widened(x: torch.Tensor) -> torch.Tensor:
    """`x` in float32, or in float64 where it is that."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
