"""On which device a Triton kernel is launched."""

import contextlib

import torch

__all__ = ['device_of']


def device_of(x: torch.Tensor) -> contextlib.AbstractContextManager:
    """A context for launching on the device of `x`: Triton takes the current one, which need not be the same."""
    return torch.cuda.device_of(x) if torch.cuda.device_count() > 1 else contextlib.nullcontext()
