"""`tools/demo.py` from end to end on two photographs with untrained weights, and what it says of mistakes."""

import html.parser
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip('mmdet')
pytest.importorskip('onnxruntime')

from rich.console import Console

from backbones.deploy.card import read_card
from registry import NARROW
from tools import demo, demo_page


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's detector with a narrow and shallow backbone, which is written as a file in less time."""
    from backbones.mm import feature_channels

    path = tmp_path_factory.mktemp('config') / demo.CONFIG.name
    channels = feature_channels('lsnet_t', **NARROW['lsnet'])
    model = {'backbone': NARROW['lsnet'], 'neck': {'in_channels': channels}}
    path.write_text(f'_base_ = [{str(demo.CONFIG)!r}]\nmodel = {model!r}\n')
    return path


@pytest.fixture(scope='module')
def checkpoint(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that nobody trained, but with scores that spread above the threshold, so that there are boxes."""
    from safetensors.torch import save_file

    from backbones.mm import build_model

    torch.manual_seed(0)
    state = build_model(config).state_dict()
    state['bbox_head.retina_cls.bias'] -= 2
    state['bbox_head.retina_cls.weight'] *= 3
    path = tmp_path_factory.mktemp('weights') / 'untrained.safetensors'
    save_file({key: value.half() if value.is_floating_point() else value for key, value in state.items()}, path)
    return path


class Page(html.parser.HTMLParser):
    """Collects what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[dict] = []
        self.links: list[str] = []
        self.headings = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        given = dict(attributes)
        if tag == 'img':
            self.images.append(given)
        self.headings += tag == 'h1'
        self.links += [given[name] for name in ('src', 'href') if name in given]


@pytest.mark.timeout(600)  # exports a whole detector
def test_two_photographs(
    config: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    import onnx

    seen = {}
    page = demo_page.page
    monkeypatch.setattr(demo_page, 'page', lambda *args: seen.update(results=args[3]) or page(*args))
    arguments = ['--images', '2', '--output', str(tmp_path), '--config', str(config), '--checkpoint', str(checkpoint)]
    assert demo.main(arguments) == 0
    printed = capsys.readouterr().out
    for word in ('PyTorch', 'ONNX Runtime', 'AP50', 'AP RBC', 'AP WBC', 'AP Platelets', 'Model only', 'End to end'):
        assert word in printed
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {'index.html', 'photographs', 'retinanet_lsnet_t_fpn_bccd.json', 'retinanet_lsnet_t_fpn_bccd.onnx'}
    assert len(list((tmp_path / 'photographs').glob('*.jpg'))) == 2
    onnx.checker.check_model(str(tmp_path / 'retinanet_lsnet_t_fpn_bccd.onnx'))
    assert read_card(tmp_path / 'retinanet_lsnet_t_fpn_bccd.onnx')['weights']['file'] == checkpoint.name

    # both ways find the same boxes; rounding may move one over the score threshold
    ours, theirs = (
        sorted((box['score'] for box in seen['results'][name].boxes), reverse=True)[:50]
        for name in (demo.TORCH, demo.ONNX)
    )
    assert len(ours) > 10
    assert np.allclose(ours, theirs, atol=1e-3)

    found = Page((tmp_path / 'index.html').read_text())
    assert found.headings == 1
    assert len(found.images) == 4
    assert all(image['alt'] for image in found.images)
    assert found.links
    assert all(link.startswith('data:') for link in found.links)  # nothing that another file or the network has to give


def test_disagreement_fails(capsys: pytest.CaptureFixture) -> None:
    console = Console()
    assert demo._agree({demo.TORCH: [50.0, 80.0], demo.ONNX: [50.09, 85.0]}, console) == 0
    assert demo._agree({demo.TORCH: [50.0, 80.0], demo.ONNX: [49.85, 80.0]}, console) == 1
    assert 'differ by 0.15 points, more than 0.1' in capsys.readouterr().err


def test_score_of_the_truth_is_100() -> None:
    from mmengine.config import Config

    split = demo._split(Config.fromfile(demo.CONFIG), 3)
    assert len(split.pictures) == 3
    boxes = [
        {'image_id': p.id, 'category_id': split.categories[label], 'bbox': box, 'score': 0.9, 'label': label}
        for p in split.pictures
        for box, label in zip(p.boxes, p.labels, strict=True)
    ]
    assert demo._score(split, boxes) == pytest.approx([100.0] * 5)
    assert demo._score(split, []) == [0.0] * 5
    for box in boxes:
        box['bbox'] = [box['bbox'][0] + 1000, *box['bbox'][1:]]
    assert demo._score(split, boxes) == pytest.approx([0.0] * 5)


def test_writing_on_every_colour_can_be_read() -> None:
    assert demo_page._ink((255, 255, 255)) == demo_page._ink((255, 165, 0)) == 'black'
    assert demo_page._ink((0, 0, 0)) == demo_page._ink((65, 105, 225)) == 'white'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--checkpoint', 'nowhere.safetensors'], 'there is no checkpoint nowhere.safetensors'),
        (['--config', 'nowhere.py'], 'there is no config nowhere.py'),
        (['--config', str(demo.ROOT / 'configs/segmentation/fpn_lsnet_t_nuclei.py')], 'has a BaseSegDataset'),
        (['--images', '0'], '--images must be at least 1'),
        (['--device', 'cuda:99'], '--device cuda:99 cannot be used here'),
        (['--device', 'toaster'], '--device toaster cannot be used here'),
        (['--checkpoint', 'BROKEN'], 'broken.safetensors'),
    ],
)
def test_mistakes(
    arguments: list[str], message: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    broken = tmp_path / 'broken.safetensors'
    broken.write_bytes(checkpoint.read_bytes()[:1000])
    arguments = [str(broken) if argument == 'BROKEN' else argument for argument in arguments]
    given = ['--checkpoint', str(checkpoint), '--output', str(tmp_path / 'out'), *arguments]
    assert demo.main(given) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('demo.py: ')
    assert message in error
    assert not list((tmp_path / 'out').glob('*'))
