"""`tools/export.py` with the config of a classifier: its metric is mmpretrain's own."""

from pathlib import Path

import pytest

pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')
pytest.importorskip('mmpretrain')

import mm_runs
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from backbones.deploy.card import read_card
from backbones.mm import build_model
from registry import NARROW
from tools import export as tool
from tools import mm_config, score


def test_a_classifier_of_a_config(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    mm_runs.make_cifar10(tmp_path)
    config, weights, output = tmp_path / 'config.py', tmp_path / 'weights.pth', tmp_path / 'model.onnx'
    config.write_text(
        f"_base_ = '{mm_runs.ROOT / mm_runs.RUNNABLE['classification']}'\n"
        f'model = dict(**{NARROW["lsnet"]})\n'
        f"test_dataloader = dict(dataset=dict(data_root='{tmp_path / 'cifar10'}'))\n"
    )
    torch.manual_seed(0)
    model = build_model(Config.fromfile(config))
    torch.save({'state_dict': model.state_dict()}, weights)
    words = ['--config', str(config), '--checkpoint', str(weights), '--output', str(output), '--metric']
    assert tool.main(words) == 0
    assert 'accuracy/top1 on 20 of 20 test pictures' in capsys.readouterr().out

    written = read_card(output)
    assert written['input']['channel_order'] == 'rgb'
    assert written['input']['size'] == [3, 64, 64]
    assert written['input']['resize'] == {'mode': 'stretch', 'scale': [64, 64], 'interpolation': 'bicubic'}
    assert len(written['classes']) == 10
    metric = written['metric']
    assert metric['gap'] == 0
    settings = Config.fromfile(config)
    settings.merge_from_dict({'work_dir': str(tmp_path / 'work'), 'load_from': None})
    settings.test_dataloader.update(num_workers=0, persistent_workers=False)
    with score.quiet():
        runner = Runner.from_cfg(settings)
        runner.model.load_state_dict(model.state_dict())
        found = runner.test()
    for name in ('accuracy/top1', 'accuracy/top5'):
        assert metric['all']['onnxruntime'][name] == pytest.approx(found[name])


def test_a_file_of_openvino_has_a_metric_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip('openvino')
    mm_runs.make_cifar10(tmp_path)
    config, weights, output = tmp_path / 'config.py', tmp_path / 'weights.pth', tmp_path / 'model.xml'
    config.write_text(
        f"_base_ = '{mm_runs.ROOT / mm_runs.RUNNABLE['classification']}'\n"
        f'model = dict(**{NARROW["lsnet"]})\n'
        f"test_dataloader = dict(dataset=dict(data_root='{tmp_path / 'cifar10'}'))\n"
    )
    torch.save({'state_dict': build_model(Config.fromfile(config)).state_dict()}, weights)
    words = ['--config', str(config), '--checkpoint', str(weights), '--output', str(output), '--metric']
    assert tool.main([*words, '--normalize', '--format', 'openvino', '--half']) == 0
    card = read_card(output)
    assert card['metric'].keys() == {'name', 'pytorch', 'openvino', 'gap', 'pictures', 'of', 'all'}
    assert card['made_from']['metric']['onnxruntime'] == pytest.approx(card['metric']['pytorch'])
    assert f'top1 {card["metric"]["openvino"]:.2f} (' in ' '.join(capsys.readouterr().out.split())


@pytest.mark.parametrize('path', [path for path in mm_runs.RECIPES if 'imagenet' in path])
def test_the_card_cuts_pictures_as_the_config_does(path: str) -> None:
    config = mm_config.load_config(path, {})
    facts = tool.config_facts(config, None)
    steps = {step['type'].rpartition('.')[2]: step for step in config.test_dataloader.dataset.pipeline}
    side = next(step['crop_size'] for name, step in steps.items() if name.endswith('CenterCrop'))
    assert facts['input_size'] == (3, side, side)
    assert facts['resize']['mode'] == 'crop'
    assert round(side / facts['resize']['crop_pct']) == steps['ResizeEdge']['scale']
    assert len(facts['classes']) == 1000
