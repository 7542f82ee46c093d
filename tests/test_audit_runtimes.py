"""deploy.audit against the runtimes that are installed: what the tables say is what they do."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('onnx')

import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from backbones.deploy.audit import audit
from backbones.deploy.operators import runtimes

OPEN = 2**31 - 1  # last version of a kernel without end
NAMES = {'float': 'float32', 'double': 'float64'}
KERNELS = 'get_all_opkernel_def'


def model(text: str, opset: int = 18, **constants: Any) -> onnx.ModelProto:
    """From the text form of a graph, and the values of its constants."""
    made = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}, "com.microsoft" : 1]> g {text}')
    for name, value in constants.items():
        made.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return made


def ints(*values: int) -> np.ndarray:
    return np.array(values, 'int64')


def floats(*values: float) -> np.ndarray:
    return np.array(values, 'float32')


# ONNX Runtime


def kernels(domain: str) -> dict[str, list[tuple[tuple[int, int], dict[str, set[str]]]]]:
    """Operator -> (first and last version, type variable -> element types) of the kernels on the CPU."""
    state = importlib.import_module('onnxruntime.capi.onnxruntime_pybind11_state')
    found: dict[str, list] = {}
    for kernel in state.get_all_opkernel_def():
        if (kernel.domain, kernel.provider) == (domain, 'CPUExecutionProvider'):
            types = {
                variable: {NAMES.get(name[7:-1], name[7:-1]) for name in names if name.startswith('tensor(')}
                for variable, names in kernel.type_constraints.items()
            }
            found.setdefault(kernel.op_name, []).append((kernel.version_range, types))
    return found


def versions() -> Iterator[tuple[str, int]]:
    """Operators with each of their versions that a file of opset 7 to 28 can have."""
    history: dict[str, list[int]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if not schema.domain and schema.since_version <= 28:
            history.setdefault(schema.name, []).append(schema.since_version)
    for operator, found in history.items():
        for version in found:
            if version >= 7 or not any(version < other <= 7 for other in found):
                yield operator, version


@pytest.fixture
def installed() -> Any:
    onnxruntime = pytest.importorskip('onnxruntime')
    if not onnxruntime.__version__.startswith('1.32.'):
        pytest.skip('the table is that of ONNX Runtime 1.32')
    return onnxruntime


def test_the_table_has_the_kernels_of_onnxruntime(installed: Any) -> None:
    """A kernel with an end takes the versions up to it, one without an end only that with which it begins."""
    runtime, every = runtimes()['onnxruntime-cpu'], kernels('')
    count = 0
    for operator, version in versions():
        fitting = [
            types
            for (first, last), types in every.get(operator, ())
            if first == version or (last != OPEN and first < version <= last)
        ]
        row = runtime.table.row(operator, runtime.version, version)
        told = row is not None and row.verdict == 'ok' and KERNELS in row.source
        assert told == bool(fitting), (operator, version)
        if row is not None and told:
            together: dict[str, set[str]] = {}
            for types in fitting:
                for variable, names in types.items():
                    together.setdefault(variable, set()).update(names)
            assert row.types == {k: v for k, v in together.items() if v}, (operator, version)
            count += 1
    assert count > 300


def test_what_cuda_leaves_to_the_cpu_is_taken_there() -> None:
    cuda, cpu = runtimes()['onnxruntime-cuda'], runtimes()['onnxruntime-cpu']
    count = 0
    for operator, version in versions():
        row = cuda.table.row(operator, cuda.version, version)
        if row is not None and 'runs on the CPU' in row.reason:
            other = cpu.table.row(operator, cpu.version, version)
            assert other is not None and other.verdict != 'refused', (operator, version)
            count += 1
    assert count > 60


def test_operators_of_onnxruntime_itself(installed: Any) -> None:
    runtime, every = runtimes()['onnxruntime-cpu'], kernels('com.microsoft')
    names = {name for name in runtime.table.rows if '::' in name}
    assert names == {f'com.microsoft::{operator}' for operator in every}
    for operator, found in every.items():
        row = runtime.table.row(f'com.microsoft::{operator}', runtime.version, 1)
        assert row is not None
        if row.verdict == 'ok':
            assert row.types == {'': set().union(*(names for _, types in found for names in types.values()))}


RELU = '(float[2, 4] x) => (float[a, b] y)'
FEATURES = '(float[1, 4, 6, 6] x) => (float[a, b, c, d] y)'
STEPS = '(float[2, 3, 4] x) => (float[a, b, c, d] y)'
WEIGHTS = {n: {'w': np.full((1, n, 4), 0.1, 'f'), 'r': np.full((1, n, 5), 0.2, 'f')} for n in (5, 15, 20)}
ROIS = {'r': np.array([[0, 0, 4, 5]], 'float32'), 'i': ints(0)}


@pytest.mark.parametrize(
    ('text', 'opset', 'constants', 'loads'),
    [
        (FEATURES + '{ y = RoiAlign (x, r, i) }', 21, ROIS, True),
        (FEATURES + '{ y = RoiAlign (x, r, i) }', 22, ROIS, False),
        (FEATURES + '{ y = GlobalLpPool (x) }', 21, {}, True),
        (FEATURES + '{ y = GlobalLpPool (x) }', 23, {}, False),
        (FEATURES + '{ y = Upsample (x, s) }', 9, {'s': floats(1, 1, 2, 2)}, True),
        (FEATURES + '{ y = Upsample (x, s) }', 10, {'s': floats(1, 1, 2, 2)}, False),
        (RELU + '{ y = Scatter (x, i, u) }', 9, {'i': ints(0)[None], 'u': floats(0)[None]}, True),
        (RELU + '{ y = Scatter (x, i, u) }', 11, {'i': ints(0)[None], 'u': floats(0)[None]}, False),
        (RELU + '{ y = RandomUniformLike (x) }', 18, {}, True),
        (RELU + '{ y = RandomUniformLike (x) }', 22, {}, False),
        (RELU + '{ y = Bernoulli (x) }', 21, {}, True),
        (RELU + '{ y = Bernoulli (x) }', 22, {}, False),
        (RELU + '{ y = Swish (x) }', 24, {}, True),
        (RELU + '{ y = Swish (x) }', 25, {}, False),
        (RELU + '{ y = SwiGLU (x, x) }', 28, {}, False),
        (RELU + '{ y = HardSwish (x) }', 22, {}, True),
        (STEPS + '{ y = GRU <hidden_size = 5, layout = 0> (x, w, r) }', 22, WEIGHTS[15], True),
        (STEPS + '{ y = GRU <hidden_size = 5, layout = 1> (x, w, r) }', 22, WEIGHTS[15], False),
        (STEPS + '{ y = LSTM <hidden_size = 5, layout = 0> (x, w, r) }', 22, WEIGHTS[20], True),
        (STEPS + '{ y = LSTM <hidden_size = 5, layout = 1> (x, w, r) }', 22, WEIGHTS[20], False),
        (STEPS + '{ y = RNN <hidden_size = 5, layout = 0> (x, w, r) }', 22, WEIGHTS[5], True),
        (STEPS + '{ y = RNN <hidden_size = 5, layout = 1> (x, w, r) }', 22, WEIGHTS[5], False),
        (RELU.replace('float[', 'double[') + '{ y = HardSwish (x) }', 22, {}, False),
        (RELU.replace('float[', 'double[') + '{ y = ReduceLogSum (x) }', 28, {}, True),
        (
            RELU + '{ q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z) }',
            27,
            {'s': floats(1), 'z': np.zeros(1, 'int8')},
            True,
        ),
        (
            RELU + '{ q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z) }',
            28,
            {'s': floats(1), 'z': np.zeros(1, 'int8')},
            False,
        ),
        (RELU + '{ y = com.microsoft.Gelu (x) }', 18, {}, True),
        (RELU.replace('float[', 'double[') + '{ y = com.microsoft.Gelu (x) }', 18, {}, False),
        (
            RELU.replace('float[', 'double[') + '{ y = com.microsoft.FusedMatMul (x, w) }',
            18,
            {'w': np.ones((4, 4))},
            True,
        ),
        (
            RELU.replace('float[', 'int32[') + '{ y = com.microsoft.FusedMatMul (x, w) }',
            18,
            {'w': np.ones((4, 4), 'int32')},
            False,
        ),
    ],
)
def test_what_passes_for_onnxruntime_loads(text: str, opset: int, constants: dict, loads: bool, installed: Any) -> None:
    made = model(text, opset, **constants)
    assert audit(made, ['onnxruntime-cpu']).passed('onnxruntime-cpu') == loads
    options = installed.SessionOptions()
    options.log_severity_level = 4
    given = made.SerializeToString(), options, ['CPUExecutionProvider']
    if loads:
        installed.InferenceSession(*given)
    else:
        with pytest.raises(Exception, match=r'NOT_IMPLEMENTED|INVALID_GRAPH|not supported'):
            installed.InferenceSession(*given)


# OpenVINO

CROP = '<coordinate_transformation_mode = "tf_crop_and_resize", mode = "linear">'
CUBIC = '<mode = "cubic", exclude_outside = 1>'
LOSS = '(float[2, 3] x) => (float y)'
COLUMNS = '(float[1, 8, 27] x) => (float[a, b, c, d, e] y)'
HEADS = '(float[1, 2, 4, 8] x) => (float[a, b, c, d] y)'
SPECTRUM = '(float[1, 16, 1] x, int64 s) => (float[a, b, c, d] y)'
WAVES = '(float[2, 4, 6, 1] x) => (float[a, b, c, d] y)'
SCALES = {'s': np.full((2, 2), 0.5, 'f')}
SIDES = {'s': ints(1, 4, 3, 3)}


def cast(name: str) -> str:
    return f'{RELU} {{ h = Cast <to = {TensorProto.DataType.Value(name.upper())}> (x) y = Cast <to = 1> (h) }}'


@pytest.mark.parametrize(
    ('text', 'opset', 'constants', 'right'),
    [
        (FEATURES + '{ y = Pad <mode = "wrap"> (x, p) }', 19, {'p': ints(0, 0, 1, 1, 0, 0, 1, 1)}, False),
        (FEATURES + '{ y = Pad <mode = "edge"> (x, p) }', 19, {'p': ints(0, 0, 1, 1, 0, 0, 1, 1)}, True),
        (FEATURES + f'{{ y = Resize {CROP} (x, r, , s) }}', 18, {'r': floats(0, 0, 0, 0, 1, 1, 1, 1), **SIDES}, False),
        (
            FEATURES + f'{{ y = Resize {CROP.replace("tf_crop_and_resize", "half_pixel_symmetric")} (x, , , s) }}',
            19,
            SIDES,
            False,
        ),
        (FEATURES + '{ y = Resize <mode = "linear", antialias = 1> (x, , , s) }', 18, SIDES, False),
        (FEATURES + '{ y = Resize <mode = "linear"> (x, , , s) }', 18, SIDES, True),
        (
            FEATURES + '{ y = Resize <keep_aspect_ratio_policy = "not_larger"> (x, , , s) }',
            18,
            {'s': ints(1, 4, 3, 5)},
            False,
        ),
        (
            FEATURES + '{ y = Resize <axes = [2, 3], keep_aspect_ratio_policy = "not_smaller"> (x, , , s) }',
            18,
            {'s': ints(3, 5)},
            False,
        ),
        (FEATURES + f'{{ y = Resize {CUBIC} (x, , s) }}', 18, {'s': floats(1, 1, 2, 2)}, False),
        (FEATURES + '{ y = Dropout (x, r, t) }', 18, {'r': np.float32(0.5), 't': np.bool_(True)}, False),
        (FEATURES + '{ y = Dropout (x, r, t) }', 18, {'r': np.float32(0.5), 't': np.bool_(False)}, True),
        (RELU + '{ y = Mod (x, t) }', 18, {'t': floats(0.7)}, False),
        (RELU + '{ y = Mod <fmod = 1> (x, t) }', 18, {'t': floats(0.7)}, True),
        (RELU.replace('float[', 'float16[') + '{ y = Celu (x) }', 28, {}, False),
        (RELU.replace('float[', 'double[') + '{ y = Celu (x) }', 28, {}, False),
        (RELU + '{ y = Celu (x) }', 28, {}, True),
        (COLUMNS + '{ y = Col2Im (x, i, k) }', 18, {'i': ints(4, 4, 4), 'k': ints(2, 2, 2)}, False),
        (
            COLUMNS.replace('8, 27', '8, 9').replace(', e', '') + '{ y = Col2Im (x, i, k) }',
            18,
            {'i': ints(4, 4), 'k': ints(2, 2)},
            True,
        ),
        (
            RELU.replace('(float[a', '(float4e2m1[a') + '{ y = QuantizeLinear <output_dtype = 23> (x, s) }',
            23,
            {'s': np.float32(1)},
            False,
        ),
        (cast('float8e4m3fnuz'), 19, {}, False),
        (cast('float8e5m2fnuz'), 19, {}, False),
        (cast('int2'), 25, {}, False),
        (cast('uint2'), 25, {}, False),
        (cast('float8e5m2'), 19, {}, True),
        (FEATURES + '{ y = MaxPool <ceil_mode = 1, kernel_shape = [1, 1], strides = [2, 2]> (x) }', 22, {}, False),
        (
            FEATURES
            + '{ y = MaxPool <ceil_mode = 1, kernel_shape = [2, 2], strides = [2, 2], pads = [0, 0, 1, 1]> (x) }',
            18,
            {},
            False,
        ),
        (
            FEATURES
            + '{ y = MaxPool <ceil_mode = 1, kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (x) }',
            18,
            {},
            True,
        ),
        (FEATURES + '{ y = AveragePool <ceil_mode = 1, kernel_shape = [1, 1], strides = [2, 2]> (x) }', 22, {}, True),
        (STEPS + '{ y = GRU <hidden_size = 5, layout = 1> (x, w, r) }', 18, WEIGHTS[15], False),
        (STEPS + '{ y = LSTM <hidden_size = 5, layout = 1> (x, w, r) }', 18, WEIGHTS[20], False),
        (STEPS + '{ y = RNN <hidden_size = 5, layout = 1> (x, w, r) }', 18, WEIGHTS[5], False),
        (
            STEPS + '{ y = LSTM <hidden_size = 5> (x, w, r, , , , , p) }',
            18,
            {**WEIGHTS[20], 'p': np.ones((1, 15), 'f')},
            False,
        ),
        (STEPS + '{ y = LSTM <hidden_size = 5> (x, w, r) }', 18, WEIGHTS[20], True),
        (FEATURES + '{ y = RoiAlign <mode = "max", sampling_ratio = 2> (x, r, i) }', 16, ROIS, False),
        (FEATURES + '{ y = RoiAlign <sampling_ratio = 2> (x, r, i) }', 16, ROIS, True),
        (FEATURES + '{ y = SpaceToDepth <blocksize = 2, mode = "CRD"> (x) }', 28, {}, False),
        (FEATURES + '{ y = SpaceToDepth <blocksize = 2> (x) }', 28, {}, True),
        (HEADS + '{ y = Attention <left_window_size = 1> (x, x, x) }', 25, {}, False),
        (HEADS + '{ y = Attention <right_window_size = 1> (x, x, x) }', 25, {}, False),
        (HEADS + '{ y = Attention (x, x, x) }', 25, {}, True),
        (RELU + '{ y = Bernoulli (x) }', 18, {}, False),
        (WAVES + '{ y = DFT (x) }', 20, {}, False),
        (WAVES.replace('4, 6, 1', '6, 1').replace(', d', '') + '{ y = DFT (x) }', 20, {}, True),
        (WAVES + '{ y = DFT (x, , a) }', 20, {'a': np.int64(1)}, True),
        (WAVES + '{ y = DFT (x, , a) }', 20, {'a': np.int64(2)}, False),
        (WAVES.replace('x)', 'x, int64 a)') + '{ b = Add (a, o) y = DFT (x, , b) }', 20, {'o': np.int64(1)}, False),
        (WAVES + '{ y = DFT <axis = 2> (x) }', 18, {}, True),
        (RELU + '{ q = QuantizeLinear <axis = 1, block_size = 2> (x, s) y = Cast <to = 1> (q) }', 21, SCALES, False),
        (
            RELU + '{ q = QuantizeLinear <axis = 1, block_size = 2> (x, s, z) y = Cast <to = 1> (q) }',
            21,
            SCALES | {'z': np.zeros((2, 2), 'int8')},
            True,
        ),
        (
            RELU
            + '{ e = Mul (x, c) i = Cast <to = 6> (e) h = BitShift <direction = "RIGHT"> (i, d) y = Cast<to = 1> (h) }',
            28,
            {'c': np.float32(8), 'd': np.array([1, 1, 1, 1], 'int32')},
            False,
        ),
        (SPECTRUM + '{ y = STFT (x, s, w) }', 18, {'w': np.ones(8, 'f')}, False),
        (LOSS + '{ y = NegativeLogLikelihoodLoss <ignore_index = 1> (x, t) }', 18, {'t': ints(0, 1)}, False),
        (LOSS + '{ y = NegativeLogLikelihoodLoss (x, t) }', 18, {'t': ints(0, 1)}, True),
    ],
)
def test_what_passes_for_openvino_is_right(text: str, opset: int, constants: dict, right: bool, tmp_path: Path) -> None:
    """It compiles, and gives what the reference of ONNX gives."""
    openvino = pytest.importorskip('openvino')
    if not openvino.__version__.startswith('2026.4.'):
        pytest.skip('the table is that of OpenVINO 2026.4')
    made = model(text, opset, **constants)
    assert audit(made, ['openvino']).passed('openvino') == right
    onnx.save(made, tmp_path / 'model.onnx')
    core, settings = openvino.Core(), {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': 1}
    try:
        compiled = core.compile_model(tmp_path / 'model.onnx', 'CPU', settings)
    except RuntimeError:
        assert not right
        return
    images = _images(made)
    (first, *_) = ReferenceEvaluator(made).run(None, images)
    expected = np.asarray(first, 'float64')
    given = np.asarray(compiled(list(images.values())).to_tuple()[0], 'float64')
    same = given.shape == expected.shape and np.allclose(given, expected, rtol=1e-3, atol=1e-3)
    assert same == right


def _images(made: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Random numbers for the inputs, and 1 for whole numbers."""
    generator, images = np.random.default_rng(0), {}
    for value in made.graph.input:
        sides = [side.dim_value for side in value.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        images[value.name] = np.ones(sides, dtype) if dtype.kind == 'i' else generator.normal(size=sides).astype(dtype)
    return images
