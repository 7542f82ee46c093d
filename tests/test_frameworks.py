"""Our names in torchvision's detectors, segmentation_models_pytorch and transformers (docs/frameworks.md)."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.rpn import AnchorGenerator

import backbones
from backbones.pyramid import FeaturePyramid
from registry import NARROW, facts, family, shape, smallest, without_gradient

ROOT = Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'frameworks.md'
SIDES = (64, 96)


def slim(name: str) -> dict[str, Any]:
    """Arguments of a narrow network of ours."""
    return NARROW[family(name)] if name in backbones.list_models() else {}


def pictures(name: str, batch: int = 1) -> torch.Tensor:
    return torch.randn(shape(name, batch, SIDES) if name in backbones.list_models() else (batch, 3, *SIDES))


def detector(kind: str, name: str) -> torch.nn.Module:
    pyramid = FeaturePyramid(name, 32, **slim(name))
    levels = len(pyramid.strides)
    anchors = AnchorGenerator(tuple((8 * stride,) for stride in pyramid.strides), ((0.5, 1.0, 2.0),) * levels)
    size: Any = {'min_size': 64, 'max_size': 96, 'num_classes': 3}
    if kind == 'retinanet':
        return RetinaNet(pyramid, anchor_generator=anchors, **size)
    return FasterRCNN(pyramid, rpn_anchor_generator=anchors, rpn_post_nms_top_n_train=50, **size)


@pytest.mark.parametrize('name', [*smallest(maps=True, pictures=True), 'test_resnet'])
@pytest.mark.parametrize('kind', ['retinanet', 'faster'])
def test_torchvision(kind: str, name: str) -> None:
    """Losses reach every weight; boxes lie in the picture."""
    model, images = detector(kind, name), list(pictures(name, 2)[:, :3])
    height, width = images[0].shape[1:]
    box = torch.tensor([[2.0, 3.0, width - 4.0, height - 5.0]])
    losses = model.train()(images, [{'boxes': box, 'labels': torch.tensor([1])}] * 2)
    sum(losses.values()).backward()
    assert without_gradient(model) == []
    found = model.eval()(images)
    assert all((f['boxes'] >= 0).all() and (f['boxes'][:, 2] <= width).all() for f in found)


@pytest.mark.parametrize('name', [*smallest(maps=True, pictures=True), 'test_resnet', 'swin_tiny_patch4_window7_224'])
def test_the_pyramid_has_its_strides(name: str) -> None:
    sizes = {'strict_img_size': False} if 'swin_tiny' in name else {}
    pyramid = FeaturePyramid(name, 16, **slim(name), **sizes).eval()
    image = pictures(name)
    maps = pyramid(image)
    assert list(maps) == [str(i) for i in range(len(pyramid.strides))]
    for m, stride in zip(maps.values(), pyramid.strides, strict=True):
        assert m.shape == (1, 16, *(-(-side // stride) for side in image.shape[-2:]))


def test_clips_are_refused() -> None:
    clips = next(name for name in backbones.list_models() if facts(name).clips and facts(name).maps)
    with pytest.raises(ValueError, match=f'{clips} takes clips'):
        FeaturePyramid(clips)


@pytest.mark.parametrize('name', smallest(maps=True, pictures=True))
def test_segmentation_models_pytorch(name: str) -> None:
    """Maps at strides 4 to 32 make a U-Net, and those from 1 or 2 on; others it refuses itself."""
    smp = pytest.importorskip('segmentation_models_pytorch')
    strides = FeaturePyramid(name, pool=False).strides
    ladders = {first: [first << i for i in range(len(strides))] for first in (1, 2, 4)}
    depth = next((len(strides) + {1: -1, 2: 0, 4: 1}[first] for first, own in ladders.items() if own == strides), None)
    settings: dict[str, Any] = {'encoder_weights': None, 'classes': 3}
    if depth is None:
        with pytest.raises(ValueError, match='Unsupported model downsampling pattern'):
            smp.Unet(f'tu-{name}', **settings)
        return
    model = smp.Unet(f'tu-{name}', encoder_depth=depth, decoder_channels=[16] * depth, **settings)
    image = pictures(name, 2)
    assert model.eval()(image).shape == (2, 3, *image.shape[-2:])
    own: Any = timm.create_model(name, features_only=True).eval()
    own.load_state_dict(model.encoder.model.state_dict())
    torch.testing.assert_close(model.encoder(image)[-len(strides) :], own(image))
    model.train()(image).square().mean().backward()
    assert without_gradient(model) == []


@pytest.fixture(scope='module')
def transformers() -> dict[str, str]:
    """Environment with transformers in it, which cannot be imported beside mmpretrain."""
    apart = Path(sys.prefix) / 'apart'
    if not (apart / 'transformers').is_dir() and importlib.util.find_spec('transformers') is None:
        pytest.skip('no transformers')
    return {**os.environ, 'PYTHONPATH': os.pathsep.join([str(apart), str(ROOT), str(ROOT / 'tests')])}


def test_transformers(transformers: dict[str, str], tmp_path: Path) -> None:
    """All names in one process, which takes seconds to start: `in_transformers.py` says what holds."""
    words = [sys.executable, str(ROOT / 'tests' / 'in_transformers.py'), str(tmp_path), *smallest(pictures=True)]
    done = subprocess.run(words, env=transformers, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == smallest(pictures=True)


@pytest.mark.parametrize('block', re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.S))
def test_the_page_runs(block: str, transformers: dict[str, str]) -> None:
    if 'smp' in block:
        pytest.importorskip('segmentation_models_pytorch')
    if 'transformers' not in block:
        exec(block, {})
        return
    done = subprocess.run([sys.executable, '-c', block], env=transformers, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
