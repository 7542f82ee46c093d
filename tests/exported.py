"""Facts about a written ONNX file, and its outputs in the runtimes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from backbones.deploy.audit import audit
from backbones.deploy.verify import session

ROOT = Path(__file__).parents[1]
RUNTIMES = ('tensorrt-10.3', 'onnxruntime-cpu', 'openvino')


def check_plain(path: Path) -> None:
    """Plain ONNX that every runtime takes which we write for, and nothing of the machine it was written on."""
    proto = onnx.load(path)
    assert {entry.domain for entry in proto.opset_import} == {''}
    assert not proto.functions
    kinds = {node.op_type for node in proto.graph.node}
    orders = [attribute.ints for node in proto.graph.node for attribute in node.attribute if attribute.name == 'perm']
    assert all(len(order) <= 4 for order in orders)  # small devices know no other tensors
    assert not kinds & {'DFT', 'Loop', 'If', 'Scan', 'SequenceAt', 'BatchNormalization'}
    assert str(ROOT).encode() not in path.read_bytes()
    report = audit(path, RUNTIMES)
    found = [
        (f.runtime, f.operator, f.verdict, f.reason) for f in report.findings if f.verdict in ('refused', 'unknown')
    ]
    assert all(report.passed(runtime) for runtime in RUNTIMES), found


def metadata(path: Path) -> dict:
    """Metadata of a file: text as it is, the rest from JSON."""
    return {entry.key: _value(entry.value) for entry in onnx.load(path).metadata_props}


def _value(text: str):
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def run(path: Path, x: torch.Tensor) -> list[np.ndarray]:
    return session(path).run(None, {'input': x.numpy()})


def in_openvino(path: Path) -> Any:
    import openvino

    settings = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': 1}
    return openvino.Core().compile_model(path, 'CPU', settings)
