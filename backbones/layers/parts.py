"""When an operator may run for a part of its input at a time: what it leaves in between then stays in the cache."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

__all__ = ['by_images', 'is_watched', 'may_run_in_parts', 'parts_of']


def may_run_in_parts(*values: torch.Tensor | None) -> bool:
    """Whether a gradient written by hand serves for these inputs: eager, on a processor, in one full precision.

    Where torch compiles or traces, it wants to see the operators, so that this is to be asked before anything about
    sizes; under autocast and on other devices operators are chosen otherwise; sums over parts need full precision; and
    gradients are written for all inputs, or for none.

    Args:
        values: Inputs and parameters; None where a parameter is missing.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_autocast_enabled('cpu'):
        return False
    kinds = {(value.device.type, value.dtype) for value in values if value is not None}
    if kinds not in ({('cpu', torch.float32)}, {('cpu', torch.float64)}):
        return False
    return not torch.is_grad_enabled() or len({value is not None and value.requires_grad for value in values}) == 1


def parts_of(x: torch.Tensor, elements: int) -> Iterator[slice]:
    """Images to take at a time: as many as hold `elements` of the map for each thread, but one at least.

    Args:
        x: Map (B, ...).
        elements: What of it stays in the cache of a processor core, with what is made of it.
    """
    step = max(1, elements * torch.get_num_threads() // max(1, x[:1].numel()))
    for start in range(0, len(x), step):
        yield slice(start, start + step)


def by_images(
    module: nn.Module, run: Callable[[torch.Tensor], Any], x: torch.Tensor, elements: int, images: int | None = None
) -> Any:
    """`run(x)` for a few images at a time, where nobody can tell: in evaluation, without gradients, unwatched.

    Time steps may be folded into the batch, the step major, in the map and in what comes of it.

    Args:
        module: Module that `run` uses; what it gives for an image must not depend on the others in evaluation mode.
        run: Map (T * B, ...) -> map (T' * B, ...); if it gives anything else, it gets all images.
        x: Map (T * B, ...).
        elements: As in `parts_of`.
        images: B, if there are time steps.
    """
    if torch.is_grad_enabled() or not may_run_in_parts(x):
        return run(x)
    count = len(x) if images is None else images
    if count == 1:
        return run(x)
    by_image = x.unflatten(0, (-1, count)).transpose(0, 1)  # B T ...
    parts = list(parts_of(by_image, elements))
    if len(parts) == 1 or not all(map(_is_plain, module.modules())):
        return run(x)
    out = None
    for part in parts:
        piece = by_image[part]
        y = run(piece.transpose(0, 1).flatten(0, 1))
        if not isinstance(y, torch.Tensor):
            return run(x)
        if out is None:
            out = _room(y, len(y) // len(piece) * count)
        out.unflatten(0, (-1, count))[:, part] = y.unflatten(0, (-1, len(piece)))
    return out


def _room(y: torch.Tensor, length: int) -> torch.Tensor:
    """An empty map of that many pictures, in the order of memory that `y` has."""
    last = y.ndim == 4 and y.is_contiguous(memory_format=torch.channels_last) and not y.is_contiguous()
    order = torch.channels_last if last else torch.contiguous_format
    return torch.empty((length, *y.shape[1:]), dtype=y.dtype, device=y.device, memory_format=order)


def is_watched(module: nn.Module) -> bool:
    """Whether hooks hang on the module, which must then be called."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks)


def _is_plain(module: nn.Module) -> bool:
    mixes = getattr(module, 'mixes_images', False)  # what it gives for an image depends on the others
    return not (module.training or mixes or is_watched(module))
