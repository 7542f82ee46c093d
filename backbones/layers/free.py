"""Views, slices and paddings whose lengths may be symbols of an exported program.

torch takes a view apart axis by axis, and asks of a symbol whether it is 1 or divides another: the answers tie the
program to the size it was traced with. The operators here are told the shape and ask nothing. They are recorded where a
program is exported with a free side; everywhere else torch's own run, which copy no more than they must.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .patch import zero_pad

__all__ = ['covering', 'free_narrow', 'free_pad', 'free_reshape', 'free_transpose']


@torch.library.custom_op('backbones::reshape', mutates_args=())
def reshape(x: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    return x.reshape(tuple(shape)).clone(memory_format=torch.contiguous_format)


@torch.library.custom_op('backbones::transpose', mutates_args=())
def transpose(x: torch.Tensor, between: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
    return x.reshape(tuple(between)).transpose(1, 2).reshape(tuple(shape)).clone(memory_format=torch.contiguous_format)


@torch.library.custom_op('backbones::narrow', mutates_args=())
def narrow(x: torch.Tensor, axis: int, start: int, length: int) -> torch.Tensor:
    return x.narrow(axis, start, length).clone(memory_format=torch.contiguous_format)


@torch.library.custom_op('backbones::pad', mutates_args=())
def pad(x: torch.Tensor, axis: int, before: int, length: int) -> torch.Tensor:
    pads = [0, 0] * (x.ndim - axis - 1) + [before, length - before - x.shape[axis]]
    return F.pad(x, pads).clone(memory_format=torch.contiguous_format)


def _of_shape(x: torch.Tensor, *shapes: Sequence[int]) -> torch.Tensor:
    return x.new_empty(tuple(shapes[-1]))


def _of_length(x: torch.Tensor, axis: int, _: int, length: int) -> torch.Tensor:
    return x.new_empty((*x.shape[:axis], length, *x.shape[axis + 1 :]))


# what an exporter is told instead of the values
reshape.register_fake(_of_shape)
transpose.register_fake(_of_shape)
narrow.register_fake(_of_length)
pad.register_fake(_of_length)


def covering(length: Any, step: int) -> Any:
    """Steps that cover a length: a number, or a symbol, which is simplest written this way."""
    return (length + step - 1) // step


def free_reshape(x: torch.Tensor, *shape: Any) -> torch.Tensor:
    """`x.reshape(shape)`.

    Args:
        x: Any tensor.
        shape: Length of every axis, none of them -1; numbers, or symbols of an exported program.
    """
    return reshape(x, shape) if _is_free(shape) else x.reshape(shape)


def free_transpose(x: torch.Tensor, between: Sequence[Any], shape: Sequence[Any]) -> torch.Tensor:
    """`x.reshape(between).transpose(1, 2).reshape(shape)`, where an axis of `between` may happen to be 1.

    Args:
        x: Any tensor.
        between: Four lengths, none of them -1; numbers, or symbols of an exported program.
        shape: Lengths of the result, likewise.
    """
    if _is_free(between):
        return transpose(x, between, shape)
    return x.reshape(between).transpose(1, 2).reshape(shape)


def free_narrow(x: torch.Tensor, axis: int, start: Any, length: Any) -> torch.Tensor:
    """`x.narrow(axis, start, length)`.

    Args:
        x: Any tensor.
        axis: Axis to cut, counted from the first.
        start: First position that stays: like `length` a number, or a symbol of an exported program.
        length: Positions that stay.
    """
    return narrow(x, axis, start, length) if _is_free((length,)) else x.narrow(axis, start, length)


def free_pad(x: torch.Tensor, axis: int, before: int, sides: Sequence[Any]) -> torch.Tensor:
    """Zeros around some axes next to each other; the tensor itself, and no copy of it, where there is nothing to add.

    Args:
        x: Any tensor.
        axis: First of the axes, counted from the first of the tensor.
        before: Zeros in front of each.
        sides: Length of each with its zeros: numbers, or symbols of an exported program.
    """
    if _is_free(sides):
        for i, side in enumerate(sides, start=axis):
            x = pad(x, i, before, side)
        return x
    pads = [0, 0] * (x.ndim - axis - len(sides))
    for i, side in reversed(list(enumerate(sides, start=axis))):
        pads += [before, side - before - x.shape[i]]
    return zero_pad(x, pads)


def _is_free(lengths: Sequence[Any]) -> bool:
    return torch.compiler.is_exporting() and not all(isinstance(length, int) for length in lengths)
