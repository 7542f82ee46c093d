"""`tools/models.py`: a model by name has all weights of the file that is named with it, or there is a sentence."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

import backbones  # noqa: F401 (registers our models)
from tools import models

CLASSES = 7
OURS: tuple[str, dict[str, Any]] = (
    'lsnet_t',
    {'dims': (16, 16, 32, 32), 'depths': (0, 1, 1, 1)},
)  # in place of 11 M parameters
THEIRS: tuple[str, dict[str, Any]] = 'test_resnet', {}


def saved(path: Path, name: str, **kwargs: Any) -> Any:
    """A model whose weights are in the file."""
    model = timm.create_model(name, **kwargs)
    save_file(model.state_dict(), path)
    return model


def same(model: torch.nn.Module, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, state[key.removeprefix('model.')]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(('name', 'kwargs'), [OURS, THEIRS])
def test_the_classifier_is_that_of_the_file(name: str, kwargs: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / 'weights.safetensors'
    state = saved(file, name, num_classes=CLASSES, **kwargs).state_dict()
    model = models.create(name, checkpoint=str(file), num_classes=CLASSES, **kwargs)
    assert same(model, state)
    assert (model.pretrained_cfg['num_classes'], 'state_dict' in model.pretrained_cfg) == (CLASSES, False)
    for more, wanted in (({}, 1000), ({'num_classes': CLASSES + 1}, CLASSES + 1)):
        with pytest.raises(ValueError, match=f'a classifier of {wanted} classes, .* but holds one of {CLASSES}: '):
            models.create(name, checkpoint=str(file), **{**kwargs, **more})
    assert same(models.create(name, checkpoint=str(file), features_only=True, **kwargs), state)
    assert same(models.create(name, checkpoint=str(file), num_classes=0, **kwargs), state)


@pytest.mark.parametrize('wanted', [{'features_only': True}, {'num_classes': CLASSES}])
@pytest.mark.parametrize(
    ('other', 'kwargs'),
    [OURS, ('test_vit', {}), ('test_resnet', {'layers': (1, 1, 1, 2)})],  # the last has all keys of ours, and more
)
def test_a_file_of_another_model_is_refused(
    other: str, kwargs: dict[str, Any], wanted: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / 'weights.safetensors'
    saved(file, other, num_classes=CLASSES, **kwargs)
    with pytest.raises(ValueError, match='weights of test_resnet'):
        models.create('test_resnet', checkpoint=str(file), **wanted)


@pytest.mark.parametrize('wanted', [{'features_only': True}, {'num_classes': CLASSES}, {'num_classes': 0}])
def test_a_file_that_lacks_a_weight_is_refused(wanted: dict[str, Any], tmp_path: Path) -> None:
    file, gone = tmp_path / 'weights.safetensors', 'layer1.0.bn1.bias'
    state = timm.create_model('test_resnet', num_classes=CLASSES).state_dict()
    save_file({key: value for key, value in state.items() if key != gone}, file)
    with pytest.raises(ValueError, match=gone):
        models.create('test_resnet', checkpoint=str(file), **wanted)


def test_families_that_timm_loads_loosely_are_held_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / 'weights.safetensors'
    saved(file, 'test_vit')
    with pytest.raises(ValueError, match=r'must hold the weights of dla46x_c, but of its keys \d+ are missing'):
        models.create('dla46x_c', checkpoint=str(file))


def test_pyramids_without_the_last_layers_take_whole_files(tmp_path: Path) -> None:
    file = tmp_path / 'weights.safetensors'
    state = saved(file, 'test_efficientnet').state_dict()
    assert same(models.create('test_efficientnet', checkpoint=str(file), features_only=True), state)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / 'weights.safetensors'
    saved(file, 'test_resnet')
    file.write_bytes(file.read_bytes()[:99])
    with pytest.raises(ValueError, match='must be a whole weight file'):
        models.create('test_resnet', checkpoint=str(file))


@pytest.mark.parametrize('name', ['test_resnet', 'lsnet_t'])
@pytest.mark.parametrize('with_file', [True, False])
def test_an_argument_that_a_model_does_not_have_is_named(name: str, with_file: bool, tmp_path: Path) -> None:
    file = tmp_path / 'weights.safetensors'
    saved(file, 'test_resnet')
    with pytest.raises(ValueError, match='bogus'):
        models.create(name, words=['bogus=3'], checkpoint=str(file) if with_file else None)


def test_a_classifier_of_ours_that_does_not_fit_is_told_with_its_shape(tmp_path: Path) -> None:
    file = tmp_path / 'weights.safetensors'
    saved(file, OURS[0], num_classes=CLASSES, **OURS[1])
    overlay = {'file': str(file), 'num_classes': CLASSES + 1}
    with pytest.raises(ValueError, match=rf'size mismatch for head.*\[{CLASSES}, '):
        timm.create_model(OURS[0], pretrained=True, pretrained_cfg_overlay=overlay, num_classes=CLASSES + 1, **OURS[1])
