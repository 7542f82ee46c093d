"""Segmentors of mmseg as files, beside mmseg's own prediction."""

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')
pytest.importorskip('mmseg')

import torch
from exported import check_plain
from mm_runs import RUNNABLE
from mmengine.config import Config
from mmseg.structures import SegDataSample
from torch import nn

from backbones.deploy import export_onnx
from backbones.deploy.card import read_card
from backbones.deploy.export import Disagreement, ExportReport
from backbones.deploy.segmentor import Segmentor
from backbones.deploy.verify import compare_pixels, session
from backbones.mm import build_model, feature_channels
from registry import NARROW, family, smallest
from tools import export as tool
from tools import score

ROOT = Path(__file__).parents[1]
TINY = {'model_name': 'test_resnet', 'out_indices': (1, 2, 3, 4)}
BASES = {'fpn': 'fpn_timm.py', 'upernet': 'upernet_timm.py'}


def make_segmentor(kind: str, backbone: dict[str, Any] | None = None, **head: Any) -> Any:
    """A narrow Semantic FPN or UPerNet of random weights, with logits that depend on the picture."""
    config = Config.fromfile(ROOT / 'configs/_base_/models' / BASES[kind])
    config.default_scope = 'mmseg'
    backbone = backbone or TINY
    channels = feature_channels(**backbone)
    norm = {'type': 'SyncBN', 'requires_grad': True}  # which counts as BN in eval mode
    config.model.backbone = {'type': 'TimmFeatures', **backbone}
    config.model.decode_head.update(channels=8, norm_cfg=norm, **{'num_classes': 3, **head})
    if kind == 'fpn':
        config.model.neck.update(in_channels=channels, out_channels=8, norm_cfg=norm)
        config.model.decode_head.in_channels = [8] * 4
    else:
        config.model.auxiliary_head = None
        config.model.decode_head.in_channels = channels
    torch.manual_seed(0)
    model: Any = build_model(config)
    nn.init.normal_(model.decode_head.conv_seg.weight, std=1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        maps = model.encode_decode(torch.randn(2, 3, 96, 96), [{'img_shape': (96, 96)}] * 2)
        model.decode_head.conv_seg.bias -= maps.mean((0, 2, 3))  # no class wins everywhere
    return model


def predicted(model: Any, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (B, C, H, W) and classes (B, H, W) that mmseg's own `encode_decode` and `predict` give."""
    meta = {'img_shape': image.shape[2:], 'ori_shape': image.shape[2:], 'pad_shape': image.shape[2:]}
    samples = [SegDataSample(metainfo=meta) for _ in image]
    with torch.no_grad():
        logits = model.encode_decode(image, [meta] * len(image))
        found = model.predict(image, samples)
    return logits, torch.cat([sample.pred_sem_seg.data for sample in found]).long()


def run(path: Path, x: torch.Tensor) -> np.ndarray:
    (given,) = session(path).run(None, {'input': x.numpy()})
    return given


HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    'fpn': ('fpn', {}),
    'fpn aligned': ('fpn', {'align_corners': True}),
    'fpn of one channel': ('fpn', {'num_classes': 2, 'out_channels': 1, 'threshold': 0.4}),
    'upernet': ('upernet', {}),
    'upernet aligned': ('upernet', {'align_corners': True, 'pool_scales': (1, 2, 5)}),
}


def of_head(kind: str, **kwargs: Any) -> Any:
    base, head = HEADS[kind]
    return make_segmentor(base, **head, **kwargs)


@pytest.mark.parametrize('head', HEADS)
def test_numbers_are_those_of_mmseg(head: str) -> None:
    model = of_head(head)
    before, text = {key: value.clone() for key, value in model.state_dict().items()}, repr(model)
    flags = [getattr(module, 'align_corners', None) for module in model.modules()]
    wrapped = Segmentor(model, argmax=True)
    for shape in [(2, 3, 96, 130), (1, 3, 64, 64), (3, 3, 33, 47)]:
        x = torch.randn(shape)
        logits, mask = predicted(model, x)
        with torch.no_grad():
            given = wrapped(x)
        assert torch.equal(given['logits'], logits)
        assert torch.equal(given['mask'], mask)
        assert len(mask.unique()) > 1
    assert repr(model) == text  # the model itself stays as it is
    assert flags == [getattr(module, 'align_corners', None) for module in model.modules()]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert list(Segmentor(model)(x)) == ['logits']


@pytest.mark.parametrize(
    ('head', 'argmax'),
    [pytest.param(head, i % 2 == 0, marks=[] if head == 'fpn' else [pytest.mark.full]) for i, head in enumerate(HEADS)],
)
def test_file_of_any_size(head: str, argmax: bool, tmp_path: Path) -> None:
    model = of_head(head)
    report = export_onnx(model, tmp_path / 'model.onnx', input_size=(3, 96, 64), argmax=argmax)
    check_plain(report.path)
    assert (report.kind, report.outputs) == ('segmentor', ('mask',) if argmax else ('logits',))
    assert report.dynamic == ('batch', 'height', 'width')
    assert {check.output for check in report.checks} == {'logits', *report.outputs}
    assert len({check.shape for check in report.checks}) == 3
    written = read_card(report.path)
    assert written['input']['resize'] is None  # timm's rule is the backbone's, of a classifier
    (entry,) = written['outputs']
    channels = [] if argmax else [model.decode_head.out_channels]
    assert (entry['shape'], entry['stride']) == (['batch', *channels, 'height', 'width'], 1)
    for shape in [(1, 3, 33, 47), (3, 3, 128, 81)]:  # the deepest map is smaller than the cells of the pooling
        x = torch.randn(shape)
        logits, mask = predicted(model, x)
        given = run(report.path, x)
        if argmax:
            assert given.dtype == np.int64
            assert compare_pixels(mask.numpy(), given, logits.numpy(), model.decode_head.threshold) <= 1e-4
        else:
            np.testing.assert_allclose(given, logits.numpy(), rtol=0, atol=1e-4 * float(logits.abs().max()))


def test_file_of_one_size_is_plain(tmp_path: Path) -> None:
    model = of_head('upernet', backbone={'model_name': 'lsnet_t', 'out_indices': (0, 1, 2, 3), **NARROW['lsnet']})
    report = export_onnx(model, tmp_path / 'model.onnx', input_size=(3, 64, 64), dynamic=False, batch_size=1)
    assert not {'Range', 'Shape', 'Less', 'Greater'} & set(report.operators)  # the cells are constants
    x = torch.randn(1, 3, 64, 64)
    logits, _ = predicted(model, x)
    np.testing.assert_allclose(run(report.path, x), logits.numpy(), rtol=0, atol=1e-4 * float(logits.abs().max()))


@pytest.mark.full
@pytest.mark.parametrize('name', smallest(maps=True, pictures=True))
def test_every_family_below_a_semantic_fpn(name: str, tmp_path: Path) -> None:
    """Narrow; the first four maps, as far as there are any."""
    narrow = {'model_name': name, **NARROW[family(name)]}
    if len(feature_channels(**narrow)) < 4:
        pytest.skip('has fewer than four maps')
    model = make_segmentor('fpn', {**narrow, 'out_indices': (0, 1, 2, 3)})
    report = export_onnx(model, tmp_path / 'model.onnx', input_size=(3, 96, 64), argmax=True)
    assert all(check.error <= 1e-4 for check in report.checks)


# Masks


def test_masks_are_compared_by_what_their_logits_explain() -> None:
    logits = np.zeros((1, 3, 1, 4))
    logits[0, :, 0] = [[5, 0, 1.0, 0], [0, 10, 0.9, 0], [0, 0, 0, 0.4]]
    own = logits.argmax(1)
    assert compare_pixels(own, own, logits, None) == 0
    near, far = own.copy(), own.copy()
    near[0, 0, 2], far[0, 0, 0] = 1, 2
    assert compare_pixels(own, near, logits, None) == pytest.approx(0.05 / 10)
    assert compare_pixels(own, far, logits, None) == pytest.approx(2.5 / 10)
    assert math.isinf(compare_pixels(own, own[:, :, :3], logits, None))
    assert math.isinf(compare_pixels(own, own.astype(np.int32), logits, None))
    assert math.isinf(compare_pixels(own, own + 3, logits, None))
    single = np.array([0.0, 2.0, -2.0]).reshape(1, 1, 1, 3)
    binary = (1 / (1 + np.exp(-single[:, 0])) > 0.4).astype(np.int64)
    cut = math.log(0.4 / 0.6)
    assert binary.tolist() == [[[1, 1, 0]]]
    assert compare_pixels(binary, binary, single, 0.4) == 0
    assert compare_pixels(binary, np.array([[[0, 1, 0]]]), single, 0.4) == pytest.approx(-cut / 2)


class Shifted(Segmentor):
    """Decides otherwise when it is traced."""

    def decide(self, logits: torch.Tensor) -> torch.Tensor:
        mask = super().decide(logits)
        return (mask + 1) % 3 if torch.compiler.is_exporting() else mask


def test_a_file_of_other_classes_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('backbones.deploy.wrap.Segmentor', Shifted)
    with pytest.raises(Disagreement, match="output 'mask' differs"):
        export_onnx(
            of_head('fpn'), tmp_path / 'm.onnx', input_size=(3, 64, 64), argmax=True, dynamic=False, batch_size=1
        )
    assert not list(tmp_path.iterdir())


def test_other_segmentors_are_refused() -> None:
    def refuse(message: str, change: Any) -> None:
        model = of_head('fpn')
        change(model)
        with pytest.raises(ValueError, match=message):
            Segmentor(model)

    refuse("test_cfg.mode='whole'", lambda model: model.test_cfg.update(mode='slide'))
    refuse('lacks a single decode_head', lambda model: setattr(model, 'decode_head', nn.ModuleList().eval()))
    refuse('FPNHead lacks a conv_seg', lambda model: setattr(model.decode_head, 'conv_seg', None))

    def one_channel(model: Any) -> None:
        model.decode_head.out_channels, model.decode_head.threshold = 1, 1.5

    refuse(r'FPNHead lacks a threshold in \(0, 1\)', one_channel)


# The metric of a config


def narrow_config(folder: Path, head: str = '') -> Path:
    """The bundled Semantic FPN on a tiny backbone and small pictures; its data are where they are."""
    config = folder / 'config.py'
    config.write_text(
        f"_base_ = '{ROOT / RUNNABLE['segmentation']}'\n"
        f"model = dict(backbone=dict(_delete_=True, type='TimmFeatures', **{TINY}),\n"
        f'    neck=dict(in_channels={feature_channels(**TINY)}, out_channels=8, num_outs=4),\n'
        '    decode_head=dict(in_channels=[8] * 4, in_index=[0, 1, 2, 3], feature_strides=[4, 8, 16, 32],\n'
        f'        channels=8, {head}))\n'
        "pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(96, 64), keep_ratio=True),\n"
        "    dict(type='LoadAnnotations'), dict(type='PackSegInputs')]\n"
        f"test_dataloader = dict(dataset=dict(data_root='{ROOT / 'data/nuclei'}', pipeline=pipeline))\n"
    )
    return config


def with_weights(config: Path) -> tuple[Any, list[str]]:
    """Model of random weights, and the words that name both."""
    torch.manual_seed(1)
    model: Any = build_model(Config.fromfile(config))
    model.init_weights()
    nn.init.normal_(model.decode_head.conv_seg.weight, std=1)
    checkpoint = config.with_suffix('.pth')
    torch.save({'state_dict': model.state_dict()}, checkpoint)
    return model, ['--config', str(config), '--checkpoint', str(checkpoint)]


@pytest.mark.parametrize('argmax', [False, pytest.param(True, marks=pytest.mark.full)])
def test_tool_measures_the_metric(argmax: bool, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config = narrow_config(tmp_path)
    model, words = with_weights(config)
    output = tmp_path / 'model.onnx'
    words += ['--output', str(output), '--images', '3', *(['--argmax', '--normalize'] if argmax else [])]
    assert tool.main(words) == 0
    printed = capsys.readouterr().out
    assert 'mIoU on 3 of 113 test pictures' in printed
    assert 'Fused against unfused in float64' in printed
    written = read_card(output)
    metric = written['metric']
    assert (metric['name'], metric['pictures'], metric['of']) == ('mIoU', 3, 113)
    assert metric['gap'] <= score.TOLERANCE
    assert metric['pytorch'] == metric['all']['pytorch']['mIoU'] > 0
    assert written['classes'] == ['background', 'nucleus']
    found = {key: value for key, value in written['input']['resize'].items() if key != 'pad_to'}
    assert found == {'mode': 'keep_ratio', 'scale': [96, 64], 'interpolation': 'bilinear'}
    if argmax:
        return
    from mmengine.runner import Runner  # mmseg's own way to the same number

    settings = Config.fromfile(config)
    settings.merge_from_dict({'work_dir': str(tmp_path / 'work'), 'load_from': None})
    settings.test_dataloader.update(num_workers=0, persistent_workers=False)
    settings.test_dataloader.dataset.indices = [0, 37, 75]
    with score.quiet():
        runner = Runner.from_cfg(settings)
        runner.model.load_state_dict(model.state_dict())
        assert runner.test()['mIoU'] == pytest.approx(metric['pytorch'])


def test_a_file_of_another_metric_is_found(tmp_path: Path) -> None:
    model, _ = with_weights(narrow_config(tmp_path))
    report: ExportReport = export_onnx(model, tmp_path / 'model.onnx', input_size=(3, 64, 96), check=False)
    config = Config.fromfile(tmp_path / 'config.py')
    same = score.measure(config, model, report.path, images=2)
    assert same['gap'] == 0
    with torch.no_grad():
        model.decode_head.conv_seg.bias[:] = torch.tensor([0.0, 1000.0])
    with pytest.raises(Disagreement, match=r'mIoU must be the same to 0\.1 points'):
        score.measure(config, model, report.path, images=2)


# The tool


@pytest.mark.parametrize(
    ('words', 'sentence'),
    [
        (['-m', 'resnet10t', '--argmax'], '--argmax goes with a segmentor alone, but ResNet has no decode_head'),
        (['-m', 'resnet10t', '--logits'], '--logits goes with a segmentor alone'),
        (['-m', 'resnet10t', '--no-nms'], '--no-nms goes with a detector alone, but ResNet is none'),
        (['-m', 'resnet10t', '--metric'], '--metric needs a --config with test data'),
        (['-m', 'resnet10t', '--images', '3'], '--images has no effect'),
        (['-m', 'resnet10t', '--images', '0'], '--images must be at least 1'),
        (['-m', 'resnet10t', '--device', 'cpu'], '--device has no effect without a metric'),
        (['CONFIG', '--nms'], '--nms goes with a detector alone, but EncoderDecoder is none'),
        (['CONFIG', '--device', 'abacus'], '--device abacus cannot be used here'),
        (['CONFIG', '--no-metric', '--device', 'cpu'], '--device has no effect without a metric'),
        (['CONFIG', '--checkpoint', 'nothing.pth'], 'there is no file nothing.pth'),
        (['OTHER'], 'must hold the weights of this EncoderDecoder'),
        (['GONE', '--metric'], '--metric cannot be measured: there is no'),
    ],
)
def test_tool_says_a_mistake_in_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # mmengine's logger may still write to what an earlier test captured
    monkeypatch.setattr(logging, 'raiseExceptions', False)
    monkeypatch.chdir(tmp_path)
    if words[0] in ('CONFIG', 'OTHER', 'GONE'):
        config = narrow_config(tmp_path)
        _, given = with_weights(config)
        if words[0] == 'OTHER':
            narrow_config(tmp_path, 'num_classes=3')
        if words[0] == 'GONE':
            config.write_text(config.read_text().replace(str(ROOT / 'data'), 'nowhere'))
        words = [*given, *words[1:]]
    assert tool.main([*words, '-o', 'model.onnx']) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not list(tmp_path.glob('model*'))


def test_without_data_the_metric_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = narrow_config(tmp_path)
    _, words = with_weights(config)
    config.write_text(config.read_text().replace(str(ROOT / 'data'), 'nowhere'))
    monkeypatch.chdir(tmp_path)
    assert tool.main([*words, '-o', 'model.onnx', '--static', '--batch-size', '1', '--img-size', '64']) == 0
    assert 'the metric is not measured: there is no nowhere' in capsys.readouterr().err
    assert json.loads((tmp_path / 'model.json').read_text())['metric'] is None
