"""A graph as an audit sees it: nodes, with element types, shapes and small constants of what they take and give."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, inliner, numpy_helper, shape_inference

__all__ = ['Graph', 'Node', 'Value']

LARGE = 4096  # elements; values of larger constants are not needed to infer shapes, nor looked at, lists aside
FIELDS = ('raw_data', 'float_data', 'int32_data', 'string_data', 'int64_data', 'double_data', 'uint64_data')
TYPES = {'FLOAT': 'float32', 'DOUBLE': 'float64'}  # where the name is not ONNX's own in small letters


@dataclass(frozen=True)
class Value:
    """What is known of a tensor: element type, shape with None for what is free, both None where it is not known.

    The element type is '' for what is no tensor.
    """

    dtype: str | None = None
    shape: tuple[int | None, ...] | None = None


UNKNOWN = Value()


@dataclass(frozen=True)
class Constant:
    """Values of a constant, None if it is large; whether it is written as one, or behind an Identity or Cast."""

    values: np.ndarray | None
    written: bool = True


class Node:
    """A node with what is known of its inputs and outputs."""

    def __init__(self, proto: onnx.NodeProto, opset: int, values: Mapping, constants: Mapping) -> None:
        plain = proto.domain in ('', 'ai.onnx')
        self.name = proto.name or next(filter(None, proto.output), proto.op_type)
        self.operator = proto.op_type if plain else f'{proto.domain}::{proto.op_type}'
        self.schema = _schema(proto.op_type, opset) if plain else None
        self.opset = opset
        self.since_version: int = self.schema.since_version if self.schema else opset
        self.inputs = list(proto.input)
        self.outputs = list(proto.output)
        self.attributes = {attribute.name: attribute for attribute in proto.attribute}
        self.values: Mapping[str, Value] = values
        self.constants: Mapping[str, Constant] = constants
        self.bound = list(self._bind())

    def named(self, name: str) -> Value:
        """Of the input or output of this name."""
        return self.values.get(name, UNKNOWN)

    def value(self, place: int) -> Value:
        """Of the input at this place."""
        return self.values.get(self.inputs[place], UNKNOWN) if place < len(self.inputs) else UNKNOWN

    def constant(self, place: int) -> np.ndarray | None:
        """Value of the input at this place, None unless it is a small constant."""
        found = self.constants.get(self.inputs[place]) if place < len(self.inputs) else None
        return found.values if found else None

    def is_variable(self, place: int) -> bool:
        """Whether the input at this place is there and not written as a constant."""
        name = self.inputs[place] if place < len(self.inputs) else ''
        return bool(name) and not (name in self.constants and self.constants[name].written)

    def attribute(self, name: str) -> Any:
        """Its value, or the operator's default; None without either."""
        if name in self.attributes:
            found = onnx.helper.get_attribute_value(self.attributes[name])
        else:
            formal = self.schema.attributes.get(name) if self.schema else None
            given = formal is not None and formal.default_value.type
            found = onnx.helper.get_attribute_value(formal.default_value) if given else None  # type: ignore[union-attr]
        return found.decode() if isinstance(found, bytes) else found

    def _bind(self) -> Iterator[tuple[str, str | None]]:
        """(type variable, element type) of all inputs and outputs; '' is the variable of the data.

        An operator that ONNX does not define is taken to have that one alone.
        """
        if self.schema is None:
            yield from (('', self.named(name).dtype) for name in filter(None, (*self.inputs, *self.outputs)))
            return
        data = next((name for name in ('T', 'T1') if name in _variables(self.schema)), None)
        for names, formals in ((self.inputs, self.schema.inputs), (self.outputs, self.schema.outputs)):
            for place, name in enumerate(names):
                dtype = self.named(name).dtype
                if not (name and formals) or dtype == '':
                    continue
                variable = formals[min(place, len(formals) - 1)].type_str
                yield variable, dtype
                if variable == data:
                    yield '', dtype


class Graph:
    """Nodes of a model and of the graphs nested in it."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.opset = next((entry.version for entry in proto.opset_import if entry.domain in ('', 'ai.onnx')), 0)
        proto = _skeleton(proto)
        weights = {tensor.name for tensor in proto.graph.initializer}
        self.inputs = {value.name: _value(value.type) for value in proto.graph.input if value.name not in weights}
        self.nodes = list(self._walk(proto.graph, {}, {}))

    def _walk(self, graph: onnx.GraphProto, values: Mapping, constants: Mapping) -> Iterator[Node]:
        values = dict(values)
        constants = dict(constants)
        for value in (*graph.input, *graph.value_info, *graph.output):
            values[value.name] = _value(value.type)
        for tensor in graph.initializer:
            constants[tensor.name] = Constant(_array(tensor))
            values[tensor.name] = Value(_type_name(tensor.data_type), tuple(tensor.dims))
        for proto in graph.node:
            if proto.op_type == 'Constant' and proto.output:
                constants[proto.output[0]] = Constant(_constant(proto))
            elif proto.op_type in ('Identity', 'Cast') and not proto.domain:
                for given, made in zip(proto.input, proto.output, strict=False):
                    if given in constants:
                        constants[made] = Constant(_passed(proto, constants[given].values), written=False)
        for proto in graph.node:
            yield Node(proto, self.opset, values, constants)
            for attribute in proto.attribute:
                for inner in (*([attribute.g] if attribute.HasField('g') else []), *attribute.graphs):
                    yield from self._walk(inner, values, constants)


def _skeleton(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with inferred types and without the weights' values, which makes it small."""
    light = onnx.ModelProto(ir_version=proto.ir_version)
    light.opset_import.extend(proto.opset_import)
    light.functions.extend(proto.functions)
    for name in ('node', 'input', 'output', 'value_info'):
        getattr(light.graph, name).extend(getattr(proto.graph, name))
    light.graph.name = proto.graph.name or 'graph'
    for tensor in proto.graph.initializer:
        if _is_small(tensor):
            light.graph.initializer.append(tensor)
        else:
            light.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    if light.functions:
        light = inliner.inline_local_functions(light)
    try:
        return shape_inference.infer_shapes(light, data_prop=True)
    except Exception:  # what cannot be inferred stays unknown
        return light


def _array(tensor: TensorProto) -> np.ndarray | None:
    """Values of a constant, None if it is large or its values are elsewhere."""
    there = any(getattr(tensor, name) for name in FIELDS) or 0 in tensor.dims
    return numpy_helper.to_array(tensor) if there and _is_small(tensor) else None


def _is_small(tensor: TensorProto) -> bool:
    return not tensor.external_data and (len(tensor.dims) < 2 or bool(np.prod(tensor.dims) <= LARGE))


def _constant(proto: onnx.NodeProto) -> np.ndarray | None:
    """Values of a Constant node, in whatever form it is written; None for what is no plain tensor."""
    if not proto.attribute:
        raise ValueError(f'A Constant must have a value, but {proto.output[0]!r} has none: export the file again.')
    name, value = proto.attribute[0].name, onnx.helper.get_attribute_value(proto.attribute[0])
    if isinstance(value, TensorProto):
        return _array(value)
    if name in ('value_int', 'value_ints', 'value_float', 'value_floats'):
        return np.asarray(value, dtype='int64' if 'int' in name else 'float32')
    return None


def _passed(proto: onnx.NodeProto, value: np.ndarray | None) -> np.ndarray | None:
    """What an Identity or a Cast makes of a constant."""
    if value is None or proto.op_type == 'Identity':
        return value
    kind = next((entry.i for entry in proto.attribute if entry.name == 'to'), 0)
    if kind in (TensorProto.UNDEFINED, TensorProto.STRING) or value.dtype.kind not in 'biuf':
        return None
    return value.astype(onnx.helper.tensor_dtype_to_np_dtype(kind))


def _value(kind: onnx.TypeProto) -> Value:
    tensor = kind.tensor_type
    if not tensor.elem_type:
        return UNKNOWN if kind.WhichOneof('value') in (None, 'tensor_type') else Value('')
    sides = tuple(side.dim_value if side.HasField('dim_value') else None for side in tensor.shape.dim)
    return Value(_type_name(tensor.elem_type), sides if tensor.HasField('shape') else None)


def _type_name(number: int) -> str:
    name = TensorProto.DataType.Name(number)
    return TYPES.get(name, name.lower())


@functools.cache
def _schema(operator: str, opset: int) -> Any:
    try:
        return onnx.defs.get_schema(operator, max_inclusive_version=opset)
    except onnx.defs.SchemaError:
        return None


@functools.cache
def _type_variables(operator: str, since_version: int) -> frozenset[str]:
    schema = onnx.defs.get_schema(operator, max_inclusive_version=since_version)
    return frozenset(constraint.type_param_str for constraint in schema.type_constraints)


def _variables(schema: Any) -> frozenset[str]:
    return _type_variables(schema.name, schema.since_version)
