"""deploy.tensorrt: command lines that fit the file and the generation of TensorRT."""

import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip('onnxruntime')

from onnx_files import written

from backbones.deploy.tensorrt import recipes, write_recipes

FREE = 'g (float[batch, 3, height, width] input) => (float[batch, 3, height, width] output) { output = Relu(input) }'
FIXED = 'g (float[2, 3, 64, 96] input) => (float[2, 3, 64, 96] output) { output = Relu(input) }'
SPIKES = """g (float[batch, 3, 64, 96] input) => (float[batch, 3, 64, 96] output) {
    b = GreaterOrEqual(input, one) output = Cast <to = 1> (b) }"""


def file(path: Path, text: str = FREE, **metadata: str) -> Path:
    constants = {'one': np.float64(1)} if 'one' in text else {}
    proto = onnx.load(written(path, text, **constants))
    onnx.helper.set_model_props(proto, metadata)
    onnx.save(proto, path)
    return path


def commands(text: str) -> dict[str, list[list[str]]]:
    """Generation -> its commands, in words; all other lines are comments."""
    found: dict[str, list[list[str]]] = {}
    key = ''
    for line in text.splitlines():
        if line.startswith('# ---- TensorRT '):
            key = line.split()[3]
        elif line and not line.startswith('#'):
            found.setdefault(key, []).append(shlex.split(line))
    return found


def flags(command: list[str]) -> set[str]:
    return {word for word in command[1:] if '=' not in word}


def test_shapes_follow_from_the_free_axes(tmp_path: Path) -> None:
    path = file(tmp_path / 'model.onnx', input_size='[3, 312, 416]', strides='[8, 16, 32, 64]')
    for command in [c for found in commands(recipes(path)).values() for c in found]:
        assert command[:2] == ['trtexec', '--onnx=model.onnx']
        assert command[-3:] == [
            '--minShapes=input:1x3x192x256',
            '--optShapes=input:1x3x312x416',
            '--maxShapes=input:8x3x624x832',
        ]
    given = recipes(path, batches=(2, 4, 4), sizes=[(64, 64), (128, 96), (128, 960)])
    assert '--minShapes=input:2x3x64x64 --optShapes=input:4x3x128x96 --maxShapes=input:4x3x128x960' in given
    batch = file(tmp_path / 'batch.onnx', FREE.replace('height, width', '64, 96'))
    assert '--minShapes=input:1x3x64x96 --optShapes=input:1x3x64x96 --maxShapes=input:8x3x64x96' in recipes(batch)
    assert 'Shapes' not in recipes(file(tmp_path / 'fixed.onnx', FIXED))
    clips = FREE.replace('batch, 3', 'batch, 4, 3')
    path = file(tmp_path / 'clips.onnx', clips, input_size='[3, 64, 64]')
    assert '--optShapes=input:1x4x3x64x64' in recipes(path)


def test_flags_of_precision_are_those_of_the_generation(tmp_path: Path) -> None:
    path, half, int8 = (file(tmp_path / name, FIXED) for name in ('m.onnx', 'm.half.onnx', 'm.int8.onnx'))
    found = commands(recipes(path, half=half, int8=int8))
    assert set(found) == {'10.x', '11.x:'}
    assert not set().union(*map(flags, found['11.x:']))
    assert [c[1] for c in found['11.x:']] == ['--onnx=m.onnx', '--onnx=m.half.onnx', '--onnx=m.int8.onnx']
    by_file = {}
    for command in found['10.x']:
        by_file.setdefault(command[1], []).append(flags(command))
    assert by_file == {
        '--onnx=m.onnx': [set(), {'--fp16'}],
        '--onnx=m.half.onnx': [{'--stronglyTyped'}],
        '--onnx=m.int8.onnx': [{'--stronglyTyped'}, {'--int8', '--fp16'}],
    }
    for engines in found.values():
        plans = [word for command in engines for word in command if word.startswith('--saveEngine=')]
        assert len(set(plans)) == len(engines)


def test_without_other_files_it_says_how_to_get_them(tmp_path: Path) -> None:
    text = recipes(file(tmp_path / 'm.onnx', FIXED))
    assert 'backbones.deploy.half.to_half' in text and 'backbones.deploy.quantize.quantize' in text
    assert [c[1] for c in commands(text)['11.x:']] == ['--onnx=m.onnx']
    assert text.startswith('# How to build TensorRT engines from m.onnx. Not run here')


def test_spikes_are_never_left_to_a_flag(tmp_path: Path) -> None:
    path, int8 = file(tmp_path / 'm.onnx', SPIKES), file(tmp_path / 'm.int8.onnx', FIXED)
    assert '--fp16' not in set().union(*map(flags, commands(recipes(path, int8=int8))['10.x']))


def section(text: str, generation: str) -> str:
    """What the text says of one generation of TensorRT."""
    return text.split(f'# ---- TensorRT {generation}', 1)[1].split('\n# ---- ')[0]


def test_what_tensorrt_refuses_is_said_where_it_is_built(tmp_path: Path) -> None:
    """As the audit of each file says it."""
    plain = recipes(file(tmp_path / 'm.onnx', FIXED))
    assert 'refused' not in plain and 'unknown' not in plain
    text = 'g (float[2, 8] input) => (float[k] output) { output = Unique(input) }'
    found = recipes(file(tmp_path / 'unique.onnx', text))
    for generation, versions in (('10.x', ('10.3 (JetPack 6.1)', '10.16')), ('11.x', ('11.5',))):
        for version in versions:
            line = f'# TensorRT {version}, unique.onnx: Unique is refused: the parser has no rule for it'
            assert line in section(found, generation)
            assert line not in section(found, '11.x' if generation == '10.x' else '10.x')


def test_a_file_of_a_newer_opset_is_named(tmp_path: Path) -> None:
    path, int8 = file(tmp_path / 'm.onnx', FIXED), file(tmp_path / 'm.int8.onnx', FIXED)
    proto = onnx.load(int8)
    proto.opset_import[0].version = 23
    onnx.save(proto, int8)
    found = recipes(path, int8=int8)
    (line,) = [line for line in found.splitlines() if 'has opset 23' in line]
    assert line.startswith('# TensorRT 10.3 (JetPack 6.1), m.int8.onnx: it is refused: the file has opset 23')
    assert line.endswith('takes 9 to 20 (cure: --opset 20).')
    assert line in section(found, '10.x')


def test_file_is_written_beside_the_model(tmp_path: Path) -> None:
    path = file(tmp_path / 'model.onnx', FIXED)
    target = write_recipes(path)
    assert target == tmp_path / 'model.trt.txt'
    assert target.read_text() == recipes(path)
    assert write_recipes(path) == target  # its own text may be replaced, and no other
    target.write_text('notes on the build')
    with pytest.raises(ValueError, match="must be an earlier text of TensorRT's command lines"):
        write_recipes(path)
    assert target.read_text() == 'notes on the build'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['model.onnx', 'model.trt.txt']


@pytest.mark.parametrize(
    ('text', 'options', 'message'),
    [
        (FREE, {}, 'sizes must be given'),
        (FIXED, {'sizes': [(64, 96)] * 3}, r'sizes has no effect: .* takes pictures of \(64, 96\) pixels alone'),
        (FREE, {'sizes': [(64, 64), (32, 64), (64, 64)]}, 'none smaller than 1 or than the one before'),
        (FREE, {'sizes': [(64, 64)]}, 'must have three entries'),
        (FREE, {'sizes': [(64, 64)] * 3, 'batches': (4, 2, 8)}, 'none smaller than 1 or than the one before'),
        (FREE, {'sizes': [(64, 64)] * 3, 'batches': (0, 1, 8)}, 'none smaller than 1'),
        (FREE, {'sizes': [(0, 0), (64, 64), (64, 64)]}, 'none smaller than 1'),
        (FREE.replace('height, width', '64, 96'), {'batches': (0, 1, 8)}, 'none smaller than 1'),
        (FIXED, {'half': 'nothing.onnx'}, 'half must name a file that exists'),
    ],
)
def test_wrong_arguments(text: str, options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        write_recipes(file(tmp_path / 'model.onnx', text), **options)
    assert [path.name for path in tmp_path.iterdir()] == ['model.onnx']


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='path_in must name an ONNX file that exists'):
        recipes(tmp_path / 'model.onnx')
