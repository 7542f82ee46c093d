"""ONNX files for tests, written from text in no time, and what their tensors are made of."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper


def written(path: Path, text: str, **constants: Any) -> Path:
    """A file from the text form of a graph.

    Args:
        path: Where it goes.
        text: The graph, with its input and outputs.
        constants: Name -> value; floats become float32.
    """
    proto = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]> {text}')
    for name, value in constants.items():
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype.kind == 'f' else array
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.save(proto, path)
    return path


def types(path: Path) -> dict[str, int]:
    """Type of every tensor of a file; that these agree at every node is checked on the way."""
    proto = onnx.shape_inference.infer_shapes(onnx.load(path), check_type=True, strict_mode=True)
    found = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    values = (*proto.graph.input, *proto.graph.value_info, *proto.graph.output)
    return found | {value.name: value.type.tensor_type.elem_type for value in values}


def constants(path: Path) -> dict[str, np.ndarray]:
    """Name -> value of every constant of a file."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
