"""`tools/edge.py`: alone, as the demo prepares pictures and as timm does, and what it says of mistakes."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip('onnxruntime')
pytest.importorskip('PIL')

import mm_runs
import onnx
from onnx import TensorProto, helper
from PIL import Image

from tools import edge

ROOT = Path(__file__).parents[1]
PHOTOGRAPHS = ROOT / 'data/bccd/images'
CLASSES = ['red', 'white', 'platelet']


def write(
    folder: Path,
    nodes: list,
    outputs: list,
    constants: dict[str, np.ndarray] | None = None,
    size: tuple = ('height', 'width'),
) -> Path:
    """A file of a few operators that takes `input`."""
    axes = ['batch', 3, *size]
    graph = helper.make_graph(
        nodes,
        'graph',
        [helper.make_tensor_value_info('input', TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info(name, kind, [None] * rank) for name, kind, rank in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10)
    path = folder / 'model.onnx'
    onnx.save(proto, path)
    return path


def card(path: Path, kind: str, resize: dict, size: list[int], **values: Any) -> dict[str, Any]:
    """The card of a file, written beside it."""
    taken = {
        'size': size,
        'pixel_range': [0, 255],
        'channel_order': 'rgb',
        'normalize': True,
        'resize': resize,
        **values,
    }
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    facts = {'files': [{'name': path.name, 'sha256': digest}], 'kind': kind, 'input': taken, 'classes': CLASSES}
    path.with_suffix('.json').write_text(json.dumps(facts))
    return facts


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """Gives the mean of each colour."""
    (tmp_path / 'model').mkdir()
    node = helper.make_node('ReduceMean', ['input', 'axes'], ['output'], keepdims=0)
    path = write(tmp_path / 'model', [node], [('output', TensorProto.FLOAT, 2)], {'axes': np.array([2, 3])})
    card(path, 'classifier', {'mode': 'crop', 'interpolation': 'bicubic', 'crop_pct': 0.9}, [3, 32, 32])
    return path


def detect(folder: Path, size: tuple = ('height', 'width')) -> Path:
    """Finds the same three boxes everywhere, one of them faint, with masks of their left halves."""
    dets = np.array([[[10, 10, 50, 30, 0.9], [5, 5, 25, 25, 0.2], [0, 0, 8, 8, 0.8], [0, 0, 0, 0, 0]]], np.float32)
    masks = np.zeros((1, 4, 4, 4), np.float32)
    masks[..., :2] = 1
    given = {'dets0': dets, 'labels0': np.array([[0, 1, 2, -1]]), 'masks0': masks}
    nodes = [helper.make_node('Identity', [name], [name[:-1]]) for name in given]
    outputs = [('dets', TensorProto.FLOAT, 3), ('labels', TensorProto.INT64, 2), ('masks', TensorProto.FLOAT, 4)]
    path = write(folder, nodes, outputs, given, size)
    card(path, 'detector', {'mode': 'keep_ratio', 'interpolation': 'bilinear', 'scale': [64, 48]}, [3, 48, 64])
    return path


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    return detect(tmp_path)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """128 x 96 pixels, mostly green."""
    pixels = np.random.default_rng(0).integers(0, 80, (96, 128, 3), np.uint8)
    pixels[..., 1] += 150
    path = tmp_path / 'picture.png'
    Image.fromarray(pixels).save(path)
    return path


# Alone


FORBID = """
import runpy, sys

names = {'torch', 'torchvision', 'timm', 'mmengine', 'mmcv', 'mmdet', 'cv2', 'backbones', 'tools', 'onnx'}

class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in names:
            raise ModuleNotFoundError(f'{name} is forbidden')

sys.meta_path.insert(0, Forbid())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def test_needs_three_packages_and_no_other_file(classifier: Path, picture: Path, tmp_path: Path) -> None:
    alone = tmp_path / 'alone' / 'edge.py'
    alone.parent.mkdir()
    alone.write_bytes(Path(edge.__file__).read_bytes())
    command = [sys.executable, '-I', '-c', FORBID, alone, classifier, picture, '--output', tmp_path / 'out']
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, '')
    assert 'picture.png: white 1.000' in done.stdout
    (found,) = json.loads((tmp_path / 'out/results.json').read_text()).values()
    assert found['classes'][0] == {'label': 'white', 'score': 1.0}
    assert (found['width'], found['height']) == (128, 96)
    with Image.open(tmp_path / 'out/picture.png') as drawn:
        assert drawn.size == (128, 96)


# Preparing pictures


SIZES = [
    ((480, 640), (416, 312)),
    ((100, 77), (300, 211)),
    ((64, 64), (32, 32)),
    ((33, 47), (47, 33)),
    ((1, 5), (9, 4)),
]


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize(('before', 'after'), SIZES)
def test_resizes_as_opencv_does(before: tuple[int, int], after: tuple[int, int], interpolation: str) -> None:
    cv2 = pytest.importorskip('cv2')
    pixels = np.random.default_rng(0).integers(0, 256, (*before, 3), np.uint8)
    method = {'bilinear': cv2.INTER_LINEAR, 'bicubic': cv2.INTER_CUBIC}[interpolation]
    expected = cv2.resize(pixels, after, interpolation=method)
    given = edge.resize(pixels, after, interpolation)
    assert given.dtype == np.uint8 and given.shape == expected.shape
    difference = np.abs(expected.astype(int) - given)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.12


@pytest.mark.parametrize('interpolation', ['bicubic', 'bilinear'])
@pytest.mark.parametrize('size', [(224, 224), (64, 64), (96, 160)])
@pytest.mark.parametrize(('mode', 'crop_mode'), [('crop', 'center'), ('squash', 'squash')])
def test_cuts_as_timm_does(mode: str, crop_mode: str, size: tuple[int, int], interpolation: str) -> None:
    from timm.data import create_transform

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    facts = {
        'size': (3, *size),
        'resize': {'mode': mode, 'interpolation': interpolation, 'crop_pct': 0.9},
        'pixel_range': [0, 1],
        'mean': mean,
        'std': std,
    }
    rule = {'crop_pct': 0.9, 'crop_mode': crop_mode, 'interpolation': interpolation}
    transform: Any = create_transform((3, *size), **rule, mean=mean, std=std)
    with Image.open(sorted(PHOTOGRAPHS.iterdir())[0]) as file:
        image = file.convert('RGB')
    for picture in (image, image.rotate(90, expand=True).crop((0, 0, 300, 401))):
        given = edge.prepare(picture, facts).tensor
        assert given.dtype == np.float32
        assert torch.allclose(torch.from_numpy(given[0]), transform(picture), rtol=0, atol=1e-6)


@pytest.mark.parametrize(('crop_mode', 'mode'), [('center', 'crop'), ('squash', 'squash'), ('border', None)])
def test_cards_name_the_rule_of_timm(crop_mode: str, mode: str | None) -> None:
    """No rule rather than a wrong one: what 'border' does no card can say."""
    import timm

    from backbones.deploy import export

    model = timm.create_model('test_resnet', pretrained_cfg_overlay={'crop_mode': crop_mode, 'crop_pct': 0.9})
    rule = export._resize(model)
    assert (rule and rule['mode']) == mode
    assert rule is None or (rule['crop_pct'] == 0.9 and rule['interpolation'] in edge.MODES[rule['mode']])


def test_prepares_as_the_demo_does() -> None:
    pytest.importorskip('mmdet')
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    from tools import demo

    init_default_scope('mmdet')
    config = Config.fromfile(demo.CONFIG)
    scale = next(step['scale'] for step in config.test_dataloader.dataset.pipeline if 'scale' in step)
    facts = {
        'size': [3, scale[1], scale[0]],
        'resize': {'mode': 'keep_ratio', 'interpolation': 'bilinear', 'scale': list(scale)},
        'pixel_range': [0, 255],
        'normalize': True,
    }
    prepare = demo._preparation(config)
    for path in sorted(PHOTOGRAPHS.iterdir())[:3]:
        data, factors = prepare(path)
        with Image.open(path) as file:
            given = edge.prepare(file.convert('RGB'), facts)
        assert given.factors == pytest.approx(factors)
        assert np.abs(given.tensor[0] - data['inputs'].numpy()[::-1].astype(np.float32)).max() <= 1


@pytest.mark.full
def test_boxes_are_those_of_the_demo(tmp_path: Path) -> None:
    """The bundled detector on all photographs of the test split."""
    pytest.importorskip('mmdet')
    from tools import demo

    options = demo._parser().parse_args([])
    config, model = demo._load(options)
    split = demo._split(config, None)
    path = tmp_path / 'model.onnx'
    demo._export(model, path, config, split.classes, options.checkpoint)
    finder, alone = demo._onnx_finder(path, model, config), edge.Model(path)
    count = 0
    for picture in split.pictures:
        data, factors = finder.prepare(picture.path)
        boxes, scores, _ = finder.find(data)
        with Image.open(picture.path) as file:
            image = file.convert('RGB')
        prepared = alone.prepare(image)
        found = alone.found(alone.run(prepared), prepared, image, 0.05).record['instances']
        boxes = (boxes / [*factors, *factors])[scores > 0.05]
        assert len(found) == len(boxes)
        assert np.abs(np.array([entry['box'] for entry in found]).reshape(-1, 4) - boxes).max(initial=0) <= 1
        count += len(found)
    assert count > 10 * len(split.pictures)


def test_stretch_and_pad() -> None:
    image = Image.fromarray(np.full((30, 60, 3), (10, 20, 30), np.uint8))
    facts: dict[str, Any] = {'size': [3, 64, 64], 'pixel_range': [0, 255], 'mean': [8, 8, 8], 'std': [2, 2, 2]}
    stretched = edge.prepare(image, {**facts, 'resize': {'mode': 'stretch'}})
    assert (stretched.tensor.shape, stretched.factors) == ((1, 3, 64, 64), (64 / 60, 64 / 30))
    assert stretched.tensor[0, :, 5, 5].tolist() == [1, 6, 11]
    padded = edge.prepare(image, {**facts, 'resize': {'mode': 'pad'}})
    assert (padded.tensor.shape, padded.size) == ((1, 3, 64, 64), (32, 64))
    assert padded.tensor[0, :, 31, 63].tolist() == [1, 6, 11] and not padded.tensor[0, :, 32:].any()
    multiple = edge.prepare(image, {**facts, 'resize': {'mode': 'keep_ratio', 'scale': [70, 70], 'pad_to': 32}})
    assert (multiple.tensor.shape, multiple.size) == ((1, 3, 64, 96), (35, 70))
    # the graph takes the mean off: what is padded is the mean, in the order of the channels that the file takes
    inside = edge.prepare(image, {**facts, 'normalize': True, 'channel_order': 'bgr', 'resize': {'mode': 'pad'}})
    assert inside.tensor[0, :, 0, 0].tolist() == [30, 20, 10] and (inside.tensor[0, :, 32:] == 8).all()


@pytest.mark.parametrize('pad', [{}, {'pad_to': 32}])
def test_fits_into_a_file_of_one_shape(pad: dict) -> None:
    facts: dict[str, Any] = {'size': [3, 48, 64], 'pixel_range': [0, 255], 'mean': [8, 8, 8], 'std': [2, 2, 2]}
    facts['resize'] = {'mode': 'keep_ratio', 'scale': [64, 48], **pad}
    sizes = {(128, 96): (48, 64), (96, 128): (48, 36), (100, 100): (48, 48), (300, 50): (11, 64), (500, 1): (1, 64)}
    for (wide, tall), size in sizes.items():
        given = edge.prepare(Image.new('RGB', (wide, tall), (10, 20, 30)), facts, (48, 64))
        assert (given.tensor.shape, given.size) == ((1, 3, 48, 64), size)
        assert given.factors == (size[1] / wide, size[0] / tall)
        inside = given.tensor[0, :, : size[0], : size[1]]
        assert (inside == np.array([1, 6, 11])[:, None, None]).all()
        assert np.count_nonzero(given.tensor) == inside.size
    # no larger than the card says, and as pad says, though a picture on end would take the sides the other way round
    assert edge.prepare(Image.new('RGB', (128, 96)), facts, (96, 96)).size == (48, 64)
    facts['resize']['mode'] = 'pad'
    assert edge.prepare(Image.new('RGB', (96, 128)), facts, (48, 64)).tensor.shape == (1, 3, 48, 64)
    # without a fixed shape both rules count
    facts['resize'] = {'mode': 'pad', 'pad_to': 32}
    assert edge.prepare(Image.new('RGB', (64, 20)), facts).tensor.shape == (1, 3, 64, 64)


RUNNABLE = mm_runs.RUNNABLE.values()
GREY = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'  # pads its pictures with a colour
# Stretches its pictures to whole multiples behind the resizing.
STRETCHED = next(path for path in mm_runs.CONFIGS if 'fpn_40k_ade20k_pvt' in (ROOT / path).read_text())
# Has pillow squash them.
SQUASHED = next(
    path for path in mm_runs.CONFIGS if "'Resize', scale=224, interpolation='bil" in (ROOT / path).read_text()
)
SHORT = (STRETCHED, SQUASHED, *RUNNABLE)  # those that the default run takes


@pytest.mark.parametrize(
    'source',
    [GREY, *(p if p in SHORT else pytest.param(p, marks=pytest.mark.full) for p in mm_runs.CONFIGS)],
)
def test_prepares_as_the_config_does(source: str, tmp_path: Path) -> None:
    """From the pipeline of a test split to the card's facts to the tensor."""
    for package in ('mmdet', 'mmseg', 'mmpretrain'):
        pytest.importorskip(package)
    from mmengine.config import Config
    from mmengine.dataset import Compose
    from mmengine.registry import init_default_scope

    from tools import export

    config = Config.fromfile(Config._get_cfg_path(source, '')[0] if source == GREY else ROOT / source)
    init_default_scope(config.get('default_scope', 'mmpretrain'))
    found = export.config_facts(config, torch.nn.Module())
    if found.get('resize', {}).get('interpolation', 'area') == 'area':
        pytest.skip('the model says how, or the filter is one that is refused')
    steps = [step for step in config.test_dataloader.dataset.pipeline if 'Annotations' not in step['type']]
    steps[-1] = {'type': steps[-1]['type'], 'meta_keys': ()}
    facts = {'size': found['input_size'], 'resize': found['resize'], 'pixel_range': [0, 255], 'channel_order': 'bgr'}
    picture = np.random.default_rng(0).integers(0, 256, (12, 18, 3), np.uint8)
    Image.fromarray(picture).resize((400, 260), Image.Resampling.BICUBIC).save(tmp_path / 'picture.png')
    given = edge.prepare(Image.open(tmp_path / 'picture.png'), {**facts, 'mean': [0], 'std': [1]}).tensor[0]
    packed: Any = Compose(steps)({'img_path': str(tmp_path / 'picture.png'), 'img_id': 0})
    expected = packed['inputs'].numpy()
    assert given.shape == expected.shape
    assert np.abs(given - expected).max() <= 2  # timm's own cut has pillow's filter


# What is found


def test_boxes_and_masks_in_pixels_of_the_file(
    detector: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert edge.main([str(detector), str(picture), '--output', str(tmp_path / 'out')]) == 0
    assert 'picture.png: 1 red, 1 platelet' in capsys.readouterr().out
    (found,) = json.loads((tmp_path / 'out/results.json').read_text()).values()
    first, second = found['instances']
    assert (first['label'], first['box'], first['score']) == ('red', [20, 20, 100, 60], 0.9)
    assert (second['label'], second['box']) == ('platelet', [0, 0, 16, 16])
    assert abs(first['pixels'] - 40 * 80 / 2) <= 200  # half of the box, but for its soft edge
    drawn = np.asarray(Image.open(tmp_path / 'out/picture.png')).astype(int)
    before = np.asarray(Image.open(picture)).astype(int)
    assert (drawn[70:, 110:] == before[70:, 110:]).all()  # nothing was found there
    assert (drawn[40, 30] != before[40, 30]).any() and (drawn[40, 90] == before[40, 90]).all()  # half of it is mask
    assert edge.main([str(detector), str(picture), '--output', str(tmp_path / 'all'), '--score-threshold', '0.1']) == 0
    (found,) = json.loads((tmp_path / 'all/results.json').read_text()).values()
    assert len(found['instances']) == 3


@pytest.mark.parametrize('output', ['logits', 'mask'])
def test_classes_of_pixels(output: str, picture: Path, tmp_path: Path) -> None:
    nodes = [helper.make_node('ArgMax', ['input'], ['mask'], axis=1, keepdims=0)]
    if output == 'logits':
        nodes = [helper.make_node('Identity', ['input'], ['logits'])]
    kind, rank = (TensorProto.FLOAT, 4) if output == 'logits' else (TensorProto.INT64, 3)
    path = write(tmp_path, nodes, [(output, kind, rank)])
    card(path, 'segmentor', {'mode': 'keep_ratio', 'scale': [64, 48], 'pad_to': 32}, [3, 48, 64])
    assert edge.main([str(path), str(picture), '--output', str(tmp_path / 'out')]) == 0
    (found,) = json.loads((tmp_path / 'out/results.json').read_text()).values()
    assert found['shares'] == {'white': 1.0}
    with (
        Image.open(tmp_path / 'out/classes/picture.png.png') as numbers,
        Image.open(tmp_path / 'out/picture.png') as drawn,
    ):
        assert numbers.size == drawn.size == (128, 96)
        assert (np.asarray(numbers) == 1).all()


def test_boxes_and_masks_in_a_file_of_one_shape(tmp_path: Path) -> None:
    """A picture on end fills 48 rows and 36 of 64 columns: one box reaches beyond them, another is added there."""
    path = detect(tmp_path, (48, 64))
    proto = onnx.load(path)
    (dets,) = (entry for entry in proto.graph.initializer if entry.name == 'dets0')
    values = onnx.numpy_helper.to_array(dets).copy()
    values[0, 1] = 40, 5, 60, 25, 0.9
    dets.CopyFrom(onnx.numpy_helper.from_array(values, 'dets0'))
    onnx.save(proto, path)
    card(path, 'detector', {'mode': 'keep_ratio', 'interpolation': 'bilinear', 'scale': [64, 48]}, [3, 48, 64])
    Image.new('RGB', (96, 128)).save(tmp_path / 'tall.png')
    assert edge.main([str(path), str(tmp_path / 'tall.png'), '--output', str(tmp_path / 'out')]) == 0
    (found,) = json.loads((tmp_path / 'out/results.json').read_text()).values()
    first, second = found['instances']
    assert first['box'] == pytest.approx([10 / 0.375, 10 / 0.375, 96, 30 / 0.375], abs=0.01)
    assert abs(first['pixels'] - 20 * 20 / 0.375**2) <= 200  # half of the whole box
    assert second['label'] == 'platelet' and abs(second['pixels'] - (8 / 0.375) ** 2 / 2) <= 60


@pytest.mark.parametrize('output', ['logits', 'mask'])
def test_classes_in_a_file_of_one_shape(output: str, tmp_path: Path) -> None:
    """Red above, green below, and nothing of the blue that it is padded with."""
    node = helper.make_node('ArgMax', ['input'], ['mask'], axis=1, keepdims=0)
    if output == 'logits':
        node = helper.make_node('Identity', ['input'], ['logits'])
    kind, rank = (TensorProto.FLOAT, 4) if output == 'logits' else (TensorProto.INT64, 3)
    path = write(tmp_path, [node], [(output, kind, rank)], size=(48, 64))
    card(path, 'segmentor', {'mode': 'keep_ratio', 'scale': [64, 48], 'pad_value': [0, 0, 255]}, [3, 48, 64])
    image = Image.new('RGB', (96, 128), (255, 0, 0))
    image.paste((0, 255, 0), (0, 64, 96, 128))
    image.save(tmp_path / 'tall.png')
    assert edge.main([str(path), str(tmp_path / 'tall.png'), '--output', str(tmp_path / 'out')]) == 0
    (found,) = json.loads((tmp_path / 'out/results.json').read_text()).values()
    assert found['shares'] == {'red': 0.5, 'white': 0.5}


def test_without_a_card_the_metadata_counts(classifier: Path, picture: Path, tmp_path: Path) -> None:
    facts = json.loads(classifier.with_suffix('.json').read_text())
    proto = onnx.load(classifier)
    values = {'input_size': [3, 32, 32], **facts['input'], 'classes': ['r', 'g', 'b']}
    helper.set_model_props(
        proto, {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    )
    onnx.save(proto, classifier)
    classifier.with_suffix('.json').unlink()
    assert edge.main([str(classifier), str(picture), '--output', str(tmp_path / 'out')]) == 0
    (found,) = json.loads((tmp_path / 'out/results.json').read_text()).values()
    assert found['classes'][0]['label'] == 'g'


def test_a_batch_that_is_fixed_is_filled(tmp_path: Path, picture: Path) -> None:
    node = helper.make_node('ReduceMean', ['input', 'axes'], ['output'], keepdims=0)
    path = write(tmp_path, [node], [('output', TensorProto.FLOAT, 2)], {'axes': np.array([2, 3])}, (32, 32))
    proto = onnx.load(path)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(proto, path)
    card(path, 'classifier', {'mode': 'crop'}, [3, 32, 32])
    assert edge.main([str(path), str(picture), '--output', str(tmp_path / 'out')]) == 0
    card(path, 'classifier', {'mode': 'crop'}, [3, 48, 48])
    assert edge.main([str(path), str(picture), '--output', str(tmp_path / 'out')]) == 2


# Which pictures are read, and what is written


@pytest.mark.parametrize(('kind', 'ending'), [('I;16', 'png'), ('I;16B', 'tif')])
def test_of_16_bits_the_upper_8_count(kind: str, ending: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (12, 20), np.uint16)
    image = Image.frombytes(kind, (20, 12), values.astype('>u2' if kind.endswith('B') else '<u2').tobytes())
    path = tmp_path / f'grey.{ending}'
    image.save(path)
    with Image.open(path) as file:
        assert file.mode == kind
    given = np.asarray(edge._read(path))
    assert (given == (values >> 8)[..., None]).all() and given.shape == (12, 20, 3)
    cv2 = pytest.importorskip('cv2')
    assert (given == cv2.imread(str(path))).all()


def test_of_16_bits_a_quarter_turn(tmp_path: Path) -> None:
    values, turn = np.arange(6, dtype=np.uint16).reshape(2, 3) << 8, Image.Exif()
    turn[0x112] = 6
    Image.fromarray(values).save(tmp_path / 'grey.png', exif=turn)
    assert (np.asarray(edge._read(tmp_path / 'grey.png'))[..., 0] == np.rot90(values >> 8, -1)).all()


@pytest.mark.parametrize('mode', ['I', 'F'])
def test_pixels_without_a_range_are_skipped(
    mode: str, classifier: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / 'pictures'
    folder.mkdir()
    picture.rename(folder / 'picture.png')
    Image.new(mode, (40, 40), 1).save(folder / 'odd.tif')
    assert edge.main([str(classifier), str(folder), '--output', str(tmp_path / 'out')]) == 0
    told = capsys.readouterr()
    assert f'odd.tif is skipped: it cannot be read as a picture: mode {mode} does not tell' in told.err
    assert '1 pictures, 1 skipped' in told.out
    assert list(json.loads((tmp_path / 'out/results.json').read_text())) == ['picture.png']


def test_a_picture_that_does_not_run_is_skipped(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Of a file that says it takes all sizes."""
    nodes = [
        helper.make_node('Add', ['input', 'map'], ['sum']),
        helper.make_node('ReduceMean', ['sum', 'axes'], ['output'], keepdims=0),
    ]
    constants = {'map': np.zeros((1, 3, 48, 64), np.float32), 'axes': np.array([2, 3])}
    path = write(tmp_path, nodes, [('output', TensorProto.FLOAT, 2)], constants)
    card(path, 'classifier', {'mode': 'keep_ratio', 'scale': [64, 48]}, [3, 48, 64])
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for name, size in {'a': (128, 96), 'b': (96, 96), 'c': (64, 48)}.items():
        Image.new('RGB', size).save(folder / f'{name}.png')
    command = [str(path), str(folder), '--output', str(tmp_path / 'out')]
    assert edge.main(command) == 0
    told = capsys.readouterr()
    assert 'b.png is skipped: the model does not run on (1, 3, 48, 48)' in told.err and told.err.count('\n') == 1
    assert '2 pictures, 1 skipped' in told.out
    assert list(json.loads((tmp_path / 'out/results.json').read_text())) == ['a.png', 'c.png']
    for name in ('a', 'c'):
        (folder / f'{name}.png').unlink()
    assert edge.main(command) == 2


def test_results_outlive_a_drawing_that_cannot_be_written(classifier: Path, picture: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for name in ('a.png', 'b.png'):
        (folder / name).write_bytes(picture.read_bytes())
    (tmp_path / 'out/b.png').mkdir(parents=True)
    assert edge.main([str(classifier), str(folder), '--output', str(tmp_path / 'out')]) == 2
    assert list(json.loads((tmp_path / 'out/results.json').read_text())) == ['a.png', 'b.png']


def test_never_writes_over_what_it_reads(
    classifier: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / 'pictures'
    (folder / 'inner').mkdir(parents=True)
    mine = picture.rename(folder / 'inner/mine.png')
    (tmp_path / 'link').symlink_to(folder)
    Image.new('RGB', (40, 40)).save(folder / 'a.bmp')
    before = mine.read_bytes()
    for given, output in [(mine, mine.parent), (folder, folder), (folder, tmp_path / 'link')]:
        refuse(capsys, 'nothing that is read may be overwritten', classifier, given, '--output', output)
    other = classifier.rename(classifier.with_name('results.onnx'))
    card_of = classifier.with_suffix('.json').rename(other.with_suffix('.json'))
    refuse(capsys, 'results.json would be', other, mine, '--output', other.parent)
    assert mine.read_bytes() == before and 'sha256' in card_of.read_text()
    assert sorted(path.name for path in folder.rglob('*') if path.is_file()) == ['a.bmp', 'mine.png']


def test_never_writes_over_what_it_did_not_write(
    classifier: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """What lies in the output folder is only replaced where the results of an earlier run lie there too."""
    folder = tmp_path / 'in'
    folder.mkdir()
    Image.open(picture).save(folder / 'b.bmp')
    command = (classifier, folder / 'b.bmp', '--output', folder)
    for name, text in [('results.json', '{"images": [{"width": 1, "height": 1}]}'), ('b.bmp.png', 'a picture')]:
        (folder / name).write_text(text)
        refuse(capsys, f'{name} would be', *command)
        assert (folder / name).read_text() == text
        (folder / name).unlink()
    for _ in range(2):
        assert edge.main([str(word) for word in command]) == 0
    assert {path.name for path in folder.iterdir()} == {'b.bmp', 'b.bmp.png', 'results.json'}


def test_a_run_that_is_stopped_may_be_repeated(
    classifier: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where nothing could be written at its end."""
    whole, written = edge._save, []

    def save(path: Path, what: Any) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path.name)
        whole(path, what)

    monkeypatch.setattr(edge, '_save', save)
    command = [str(classifier), str(picture), '--output', str(tmp_path / 'out')]
    with pytest.raises(KeyboardInterrupt):
        edge.main(command)
    assert written == ['results.json', 'picture.png']
    monkeypatch.undo()
    assert edge.main(command) == 0


def test_each_picture_has_a_drawing_of_its_own(
    classifier: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for name in ('a.bmp', 'a.bmp.png'):
        Image.open(picture).save(folder / name)
    refuse(capsys, 'a.bmp.png: rename one of them', classifier, folder, '--output', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_own_drawings_are_no_pictures(classifier: Path, picture: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'pictures'
    folder.mkdir()
    picture.rename(folder / 'mine.png')
    for _ in range(2):
        assert edge.main([str(classifier), str(folder), '--output', str(folder / 'out')]) == 0
        assert list(json.loads((folder / 'out/results.json').read_text())) == ['mine.png']
    # pictures in a folder below --output are none of its own
    assert edge.main([str(classifier), str(folder), '--output', str(tmp_path)]) == 0


# Mistakes


def refuse(capsys: pytest.CaptureFixture, message: str, *args: Any) -> None:
    assert edge.main([str(arg) for arg in args]) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith('edge.py: ') and '\n' not in told
    assert message in told


def test_unreadable_pictures_are_skipped_and_counted(
    classifier: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / 'pictures'
    (folder / 'inner').mkdir(parents=True)
    picture.rename(folder / 'inner/picture.png')
    (folder / 'text.jpg').write_text('no picture')
    (folder / 'notes.txt').write_text('not looked at')
    assert edge.main([str(classifier), str(folder), '--output', str(tmp_path / 'out')]) == 0
    told = capsys.readouterr()
    assert 'text.jpg is skipped' in told.err and told.err.count('\n') == 1
    assert '1 pictures, 1 skipped' in told.out
    assert {path.name for path in (tmp_path / 'out').rglob('*') if path.is_file()} == {'results.json', 'picture.png'}
    assert edge.main([str(classifier), str(folder / 'text.jpg'), '--output', str(tmp_path / 'out')]) == 2
    assert 'none of the 1 pictures' in capsys.readouterr().err


def test_mistakes_are_sentences(classifier: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    refuse(capsys, 'there is no model', tmp_path / 'nothing.onnx', picture)
    refuse(capsys, 'there is no picture', classifier, tmp_path / 'nothing')
    refuse(capsys, 'in it.', classifier, classifier.parent)
    refuse(capsys, '--score-threshold must lie in', classifier, picture, '--score-threshold', 2)
    refuse(capsys, '--score-threshold is for detectors, but', classifier, picture, '--score-threshold', 0.3)
    file = classifier.with_suffix('.json')
    facts = json.loads(file.read_text())
    for change, message in [
        ({'files': [{'name': 'model.onnx', 'sha256': '0' * 64}]}, 'is the card of another file'),
        ({'input': {**facts['input'], 'resize': None}}, 'say resize'),
        ({'input': {**facts['input'], 'normalize': False}}, 'say mean, std'),
        ({'input': {**facts['input'], 'resize': {'mode': 'shrink'}}}, 'one of the modes crop'),
        ({'input': {**facts['input'], 'resize': {'mode': 'pad', 'interpolation': 'nearest'}}}, 'pad (bilinear or '),
        ({'input': {**facts['input'], 'resize': 'crop'}}, 'modes crop (bicubic or bilinear), squash'),
        ({'input': {**facts['input'], 'size': 3}}, 'pictures cannot be prepared as'),
        ({'input': {**facts['input'], 'size': [2, 32, 32]}}, 'size must be (1 or 3, height, width)'),
        ({'input': {**facts['input'], 'pixel_range': 1}}, 'pictures cannot be prepared as'),
        ({'input': [1]}, 'must hold a list of objects files and an object input'),
        ({'files': 3}, 'must hold a list of objects files and an object input'),
        ({'files': ['x']}, 'must hold a list of objects files and an object input'),
        ({'classes': 3}, 'classes must be a list of names'),
        ({'kind': ['detector']}, 'but gives output'),
        ({'kind': 'detector'}, 'is a detector, but gives output'),
        ({'kind': 'segmentor'}, 'is a segmentor, but gives output'),
    ]:
        file.write_text(json.dumps({**facts, **change}))
        refuse(capsys, message, classifier, picture, '--output', tmp_path / 'out')
    file.write_text('{')
    refuse(capsys, 'must be a card in JSON', classifier, picture)
    file.write_text('[]')
    refuse(capsys, 'one JSON object, but holds a list', classifier, picture)
    file.unlink()
    refuse(capsys, 'there is none', classifier, picture)
    classifier.write_text('no model')
    refuse(capsys, 'ONNX Runtime cannot load', classifier, picture)
