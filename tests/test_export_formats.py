"""`tools/export.py`: other forms of the file, and what does not go together."""

import logging
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

import mm_runs
import onnx
import timm
import torch
from safetensors.torch import save_file

from backbones.deploy.card import read_card
from backbones.deploy.verify import session
from registry import NARROW, make
from tools import export as tool
from tools import pictures

SETTINGS = {**NARROW['scaling_mlp']}


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and the weights of a narrow network."""
    folder = tmp_path_factory.mktemp('pictures')
    generator = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(generator.integers(0, 255, (70, 80, 3), np.uint8)).save(folder / f'{i}.png')
    torch.manual_seed(0)
    save_file(make('scaling_mlp_b_6_wi_512', **SETTINGS).state_dict(), folder / 'weights.safetensors')
    return folder


def words(folder: Path, output: Path, *more: str) -> list[str]:
    settings = [f'{key}={value}' for key, value in SETTINGS.items()]
    return [
        *('--model', 'scaling_mlp_b_6_wi_512', '--model-kwargs', *settings, '--dynamic', 'batch'),
        *('--checkpoint', str(folder / 'weights.safetensors'), '--output', str(output), *more),
    ]


def outputs(path: Path, x: np.ndarray) -> np.ndarray:
    return session(path).run(None, {'input': x})[0]


def test_flags_are_those_of_other_exporters() -> None:
    options = tool._parser().parse_args(['--model', 'resnet18', '--format', 'onnx', '--simplify', '--dynamic'])
    assert (options.simplify, options.dynamic) == (True, 'all')
    assert tool._parser().parse_args(['--model', 'resnet18', '--dynamic', 'batch']).dynamic == 'batch'


def test_a_name_that_is_taken_is_refused_before_any_work(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tool.main(words(folder, tmp_path / 'model.onnx')) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr('backbones.deploy.export_onnx', None)
    assert tool.main(words(folder, tmp_path / 'model.xml', '--format', 'openvino')) == 2
    assert 'is the card of model.onnx' in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_stands_in_the_way_of_a_second_file_is_told_before_the_first(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / 'model_half.json').write_text('{}')
    flags = '--half', '--tensorrt', '--calibration', str(folder)
    assert tool.main(words(folder, tmp_path / 'model.onnx', *flags)) == 2
    assert 'model_half.json' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['model_half.json']


@pytest.mark.parametrize(
    ('theirs', 'output', 'flags', 'message'),
    [
        ('best.bin', 'best.xml', '--format openvino --checkpoint THEIRS', 'must be another file than --checkpoint'),
        ('best.onnx', 'best.onnx', '--checkpoint THEIRS', 'must be another file than --checkpoint'),
        ('best.pth', 'best.pth', '--checkpoint THEIRS', 'must name a file that ends in .onnx for --format onnx'),
        ('best.bin', 'best.xml', '--format openvino', 'best.bin must be an earlier export'),
        ('best.xml', 'best.xml', '--format openvino', 'best.xml must be an earlier export'),
        ('best.onnx', 'best.onnx', '', 'best.onnx must be an earlier export'),
        ('best.trt.txt', 'best.onnx', '--tensorrt', 'best.trt.txt must be an earlier text'),
    ],
)
def test_nothing_of_the_users_is_replaced(
    theirs: str,
    output: str,
    flags: str,
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip('openvino')
    content = (folder / 'weights.safetensors').read_bytes()
    (tmp_path / theirs).write_bytes(content)
    monkeypatch.setattr('backbones.deploy.export._trace', None)
    assert tool.main(words(folder, tmp_path / output, *flags.replace('THEIRS', str(tmp_path / theirs)).split())) == 2
    assert message in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {theirs: content}


def test_what_was_exported_before_is_replaced(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip('openvino')
    for output, flags in (('a.onnx', ['--tensorrt']), ('b.xml', ['--format', 'openvino'])):
        for _ in range(2):
            assert tool.main(words(folder, tmp_path / output, *flags)) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        *('a.onnx', 'a.json', 'a.trt.txt'),
        *('b.xml', 'b.bin', 'b.json'),
    }


def test_command_lines_hold_names_with_spaces(folder: Path, tmp_path: Path) -> None:
    assert tool.main(words(folder, tmp_path / 'my model.onnx', '--tensorrt')) == 0
    lines = (tmp_path / 'my model.trt.txt').read_text().splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith('trtexec')]
    assert commands and all('--onnx=my model.onnx' in command for command in commands)


def test_pictures_have_the_size_and_the_batch_of_the_file(folder: Path, tmp_path: Path) -> None:
    settings = [f'{key}={value}' for key, value in NARROW['affnet'].items()]
    model = ['--model', 'affnet_et', '--model-kwargs', *(word.replace(' ', '').strip('()') for word in settings)]
    shape = ['--static', '--batch-size', '2', '--img-size', '64', '96']
    measured = ['--half', '--calibration', str(folder), '--samples', str(folder), '--images', '3']
    assert tool.main([*model, *shape, *measured, '--output', str(tmp_path / 'model.onnx')]) == 0
    assert read_card(tmp_path / 'model.onnx')['input']['shape'] == [2, 3, 64, 96]


def test_a_picture_that_cannot_be_read_is_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / 'x.png').write_bytes((folder / '0.png').read_bytes()[:-900])
    assert tool.main(words(folder, tmp_path / 'model.onnx', '--half', '--calibration', str(tmp_path))) == 2
    assert f'{tmp_path / "x.png"} must be a whole picture' in capsys.readouterr().err


def test_one_channel_is_followed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """In the file, in its normalisation and in the pictures that it is compared on."""
    output = tmp_path / 'model.onnx'
    model = ['--model', 'test_resnet', '--normalize', '--samples', str(folder), '--output', str(output)]
    assert tool.main([*model, '--img-size', '64', '--model-kwargs', 'in_chans=1']) == 0, capsys.readouterr().err
    given, cfg = read_card(output)['input'], timm.create_model('test_resnet').default_cfg
    assert (given['size'], given['shape'][1]) == ([1, 64, 64], 1)
    assert [given['mean'], given['std']] == [[pytest.approx(np.mean(values))] for values in (cfg['mean'], cfg['std'])]
    assert tool.main([*model, '--model-kwargs', 'in_chans=2']) == 2
    assert 'Pictures of a folder have 1 or 3 channels, but the model takes 2' in capsys.readouterr().err


STOPPED = """
import os, signal, sys, time
from pathlib import Path
from unittest import mock

from tools import export

def stopped(*args, **kwargs):
    assert list(Path(sys.argv[1]).iterdir())  # what is there for the time being
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)

with mock.patch('backbones.deploy.export_onnx', stopped):
    export.main(sys.argv[2:])
"""


def test_a_stopped_export_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    given = words(folder, tmp_path / 'model.onnx', '--half', '--calibration', str(folder))
    command = [sys.executable, '-c', STOPPED, str(tmp_path), *given]
    done = subprocess.run(command, cwd=mm_runs.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ("model = dict(type='NoSuchThing')", 'NoSuchThing is not in the'),
        ('test_dataloader = test_evaluator = test_cfg = None', 'prepared as the test_dataloader of a config says, but'),
        ('', 'x.jpg must be a whole picture'),
    ],
)
def test_mistakes_in_a_config_and_its_pictures_are_sentences(
    change: str,
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip('mmdet')
    from mmengine.config import Config

    from backbones.mm import build_model

    monkeypatch.setattr(logging, 'raiseExceptions', False)  # mmengine's logger of an earlier test has a closed stream

    config, weights = tmp_path / 'config.py', tmp_path / 'weights.pth'
    base = f"_base_ = '{mm_runs.ROOT / mm_runs.RUNNABLE['classification']}'\nmodel = dict(**{NARROW['lsnet']})\n"
    config.write_text(base)
    torch.save({'state_dict': build_model(Config.fromfile(config)).state_dict()}, weights)
    config.write_text(f'{base}{change}\n')
    (tmp_path / 'pictures').mkdir()
    picture = tmp_path / 'pictures' / 'x.jpg'
    if change:
        Image.new('RGB', (40, 40)).save(picture)
    else:
        picture.write_text('no picture')
    flags = '--half', '--calibration', str(tmp_path / 'pictures'), '--output', str(tmp_path / 'model.onnx')
    assert tool.main(['--config', str(config), '--checkpoint', str(weights), *flags, '--no-metric']) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_a_card_says_nothing_of_squares_of_many_sizes() -> None:
    pytest.importorskip('mmdet')
    from mmengine.config import Config

    config = Config.fromfile(mm_runs.ROOT / mm_runs.RUNNABLE['detection'])
    steps = config.test_dataloader.dataset.pipeline
    steps.insert(2, dict(type='Pad', pad_to_square=True))
    assert tool.config_facts(config, torch.nn.Module())['resize'] is None


@pytest.mark.parametrize('path', ['mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py', *mm_runs.RUNNABLE.values()])
def test_the_card_of_another_size_says_so(path: str) -> None:
    for package in ('mmdet', 'mmseg', 'mmpretrain'):
        pytest.importorskip(package)
    from mmengine.config import Config

    file = Config._get_cfg_path(path, '')[0] if path.startswith('mmdet') else mm_runs.ROOT / path
    config = Config.fromfile(file)
    before = tool.config_facts(config, torch.nn.Module())['resize']
    tool._set_size(config, 96, 128)
    found = tool.config_facts(config, torch.nn.Module())
    assert found['input_size'] == (3, 96, 128)
    assert found['resize'] == {**before, 'scale': (128, 96)}


def test_every_precision_beside_the_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / 'model.onnx'
    flags = '--half', '--int8', '--reduce-range', '--tensorrt', '--calibration', str(folder)
    assert tool.main(words(folder, output, *flags)) == 0, capsys.readouterr().err
    names = {'model', 'model_half', 'model_int8'}
    expected = {f'{name}{ending}' for name in names for ending in ('.onnx', '.json')} | {'model.trt.txt'}
    assert {path.name for path in tmp_path.iterdir()} == expected
    cards = {name: read_card(tmp_path / f'{name}.onnx') for name in names}
    assert [cards[name].get('precision') for name in sorted(names)] == [None, 'float16', 'int8']
    for name in ('model_half', 'model_int8'):
        passed = {key: cards['model'][key] for key in ('checks', 'fusion', 'metric')}
        assert passed['checks'] and passed['fusion']
        assert cards[name]['made_from'] == {**cards['model']['files'][0], **passed}
        assert not {'checks', 'fusion'} & cards[name].keys()  # of which it passed none
        assert cards[name]['changes'] and cards[name]['metric'] is None
        assert cards[name]['input'] == cards['model']['input']
        assert cards[name]['files'][0]['bytes'] < cards['model']['files'][0]['bytes']
    x = pictures.load(make('scaling_mlp_b_6_wi_512', **SETTINGS), folder.glob('*.png')).numpy()
    wanted = outputs(output, x)
    for name, limit in (('model_half', 0.02), ('model_int8', 0.3)):
        assert 0 < np.abs(outputs(tmp_path / f'{name}.onnx', x) - wanted).max() <= limit * np.abs(wanted).max()
    kinds = {tensor.data_type for tensor in onnx.load(tmp_path / 'model_half.onnx').graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds
    assert 'QuantizeLinear' in {node.op_type for node in onnx.load(tmp_path / 'model_int8.onnx').graph.node}
    text = (tmp_path / 'model.trt.txt').read_text()
    assert all(f'--onnx={name}.onnx' in text for name in names)


def test_openvino_takes_the_place_of_the_onnx_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    openvino = pytest.importorskip('openvino')
    output = tmp_path / 'model.xml'
    assert tool.main(words(folder, output, '--format', 'openvino', '--half')) == 0, capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {'model.xml', 'model.bin', 'model.json'}
    card = read_card(output)
    assert (card['format'], card['precision']) == ('openvino', 'float16')
    assert [entry['name'] for entry in card['files']] == ['model.xml', 'model.bin']
    assert card['openvino'] and card['metric'] is None and 'checks' not in card and card['made_from']['checks']
    run = openvino.Core().compile_model(output, 'CPU')
    assert run(np.zeros((2, *card['input']['size']), np.float32))[0].shape == (2, card['outputs'][0]['shape'][1])


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--reduce-range'], '--reduce-range has no effect'),
        (['--half'], '--half needs --calibration FOLDER'),
        (['--int8'], '--int8 needs --calibration FOLDER'),
        (['--int8', '--calibration', 'nowhere'], '--calibration: there is no folder nowhere'),
        (['--int8', '--calibration', 'EMPTY'], '--calibration must name a folder with at least one picture'),
        (['--calibration', 'FOLDER'], '--calibration has no effect'),
        (['--half', '--int8', '--calibration', 'FOLDER'], 'two files'),
        (['--tensorrt', '--format', 'openvino'], '--tensorrt goes with --format onnx'),
        (['--format', 'openvino', '--output', 'EMPTY/model.onnx'], 'ends in .xml'),
    ],
)
def test_what_does_not_go_together(
    flags: list[str], message: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip('openvino')
    empty = tmp_path / 'empty'
    empty.mkdir()
    flags = [flag.replace('FOLDER', str(folder)).replace('EMPTY', str(empty)) for flag in flags]
    assert tool.main(words(folder, tmp_path / 'model.onnx', *flags)) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith('export.py: ')
    assert message in error
    assert [path.name for path in tmp_path.rglob('*')] == ['empty']
