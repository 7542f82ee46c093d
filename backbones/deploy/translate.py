"""What torch's exporter is told about our own operators: each of them in plain ONNX operators."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

from ..layers import free, max_pool
from . import suppress

__all__ = ['translations']


def translations() -> dict[Any, Callable]:
    """Overload of an operator -> function that records it."""
    return {
        free.reshape._opoverload: _reshape,
        free.transpose._opoverload: _transpose,
        free.narrow._opoverload: _narrow,
        free.pad._opoverload: _pad,
        max_pool.max_pool._opoverload: _max_pool,
        suppress.keep_scores._opoverload: _keep_scores,
        operator.pow: _power,
    }


def _op() -> Any:
    """Operators that record nodes; typed as if they computed."""
    from onnxscript import opset18

    return opset18


def _reshape(x, shape: Sequence[Any]):
    return _op().Reshape(x, shape, allowzero=1)


def _transpose(x, between: Sequence[Any], shape: Sequence[Any]):
    return _reshape(_op().Transpose(_reshape(x, between), perm=[0, 2, 1, 3]), shape)


def _narrow(x, axis: int, start: Any, length: Any):
    op = _op()
    one = op.Constant(value_ints=[1])
    begin = op.Constant(value_ints=[start]) if isinstance(start, int) else op.Reshape(start, one)
    end = op.Add(begin, op.Reshape(length, one))
    return op.Slice(x, begin, end, op.Constant(value_ints=[axis]))


def _pad(x, axis: int, before: int, length: Any):
    op = _op()
    begin, axes = op.Constant(value_ints=[before]), op.Constant(value_ints=[axis])
    side = op.Shape(x, start=axis, end=axis + 1)
    behind = op.Sub(op.Reshape(length, op.Constant(value_ints=[1])), op.Add(side, begin))
    return op.Pad(x, op.Concat(begin, behind, axis=0), None, axes)


def _max_pool(x, side: int, stride: int, padding: int):
    values, _ = _op().MaxPool(x, kernel_shape=[side, side], strides=[stride, stride], pads=[padding] * 4)
    return values  # the other output says where they were


def _power(base, exponent):
    """Of sizes, which are whole numbers: TensorRT has powers of these from 10.12 on only."""
    return _op().Mul(base, base) if exponent == 2 else _op().Pow(base, exponent)


def _keep_scores(boxes, scores, group, groups: int, iou_threshold: float, most: int):
    """One NonMaxSuppression over all pictures and groups, whose indices say which scores stay."""
    op = _op()
    by_group = op.Unsqueeze(scores, op.Constant(value_ints=[1]))  # B 1 M
    if group is not None:
        numbers = op.Reshape(op.Constant(value_ints=list(range(groups))), op.Constant(value_ints=[groups, 1]))
        there = op.Equal(op.Unsqueeze(group, op.Constant(value_ints=[1])), numbers)
        by_group = op.Where(there, by_group, op.Constant(value_float=0.0))  # B G M
    limits = op.Constant(value_ints=[most]), op.Constant(value_floats=[iou_threshold]), op.Constant(value_floats=[0.0])
    chosen = op.NonMaxSuppression(boxes, by_group, *limits)  # (boxes kept, 3): picture, group, candidate
    places = op.Gather(chosen, op.Constant(value_ints=[0, 2]), axis=1)
    return op.ScatterND(op.Mul(scores, op.Constant(value_float=0.0)), places, op.GatherND(scores, places))
