"""Classifiers that learn from a teacher."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('mmpretrain')

import mm_runs
import timm
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample

from tools import mm_config
from tools import test as test_tool
from tools import train as train_tool

PATHS = [path for path in mm_runs.CONFIGS if 'teacher' in Config.fromfile(mm_runs.ROOT / path).model]


pytestmark = pytest.mark.usefixtures('in_root')


def classifier(**settings: Any) -> Any:
    init_default_scope('mmpretrain')
    import backbones.mm.distill  # noqa: F401 (registers it)

    given = {
        'type': 'DistilledTimmClassifier',
        'model_name': 'lsnet_t_distill',
        'dims': [16, 16, 32, 32],
        'depths': [0, 1, 1, 2],
        'num_classes': 5,
        'teacher': {'model_name': 'test_resnet', 'num_classes': 5},
        'distill_weight': 0.3,
    }
    return MODELS.build({**given, **settings})


def test_the_loss_is_that_of_the_labels_and_that_of_the_teachers_classes() -> None:
    model = classifier().train()
    weights = list(model.state_dict())
    x, y = torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 4, 2])
    found = model(x, [DataSample().set_gt_label(label) for label in y], mode='loss')
    teacher = model._teacher[0]
    assert not teacher.training
    cls, dist = model.model(x)
    with torch.no_grad():
        wanted = teacher(x).argmax(1)
    torch.testing.assert_close(found['loss_cls'], 0.7 * F.cross_entropy(cls, y))
    torch.testing.assert_close(found['loss_dist'], 0.3 * F.cross_entropy(dist, wanted))
    sum(found.values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert all(p.grad is None for p in teacher.parameters())
    assert list(model.state_dict()) == weights
    model.eval()
    torch.testing.assert_close(model(x), (model.model.head.cls(f := features(model, x)) + model.model.head.dist(f)) / 2)


def features(model: Any, x: torch.Tensor) -> torch.Tensor:
    return model.model.forward_head(model.model.forward_features(x), pre_logits=True)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'model_name': 'lsnet_t'}, 'has no distillation head'),
        ({'model_name': 'test_resnet', 'dims': None, 'depths': None}, 'must have a second head'),
        ({'teacher': {'model_name': 'regnety'}}, 'teacher must have a model_name that timm knows'),
        ({'teacher': {}}, 'teacher must have a model_name that timm knows'),
        ({'distill_weight': 1.5}, 'must be a share between 0 and 1, but is 1.5'),
    ],
)
def test_mistakes(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier(**settings)


def test_a_teacher_of_other_classes_is_refused() -> None:
    with pytest.raises(ValueError, match='must have the 5 classes of the classifier, but test_resnet has 7'):
        classifier(teacher={'model_name': 'test_resnet', 'num_classes': 7}).teacher(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize('path', PATHS)
def test_every_config_with_a_teacher_names_one_of_its_classes(path: str) -> None:
    settings = Config.fromfile(path).model
    with torch.device('meta'):
        teacher: Any = timm.create_model(settings.teacher.model_name)
    assert teacher.num_classes == settings.num_classes
    assert timm.models.get_pretrained_cfg(settings.teacher.model_name).has_weights


def test_it_is_measured_without_the_teacher(tmp_path: Path) -> None:
    mm_runs.make_imagenet(tmp_path)
    words = mm_runs.options(PATHS[-1], 1, tmp_path)
    assert train_tool.main([PATHS[-1], '--work-dir', str(tmp_path / 'work'), '--cfg-options', *words]) == 0
    words = [word for word in words if not word.startswith(('train', 'val', 'default_hooks'))]
    gone = ['model.teacher.pretrained=True']  # from where there is nothing
    trained = [PATHS[-1], str(tmp_path / 'work' / 'epoch_1.pth'), '--work-dir', str(tmp_path / 'test')]
    assert test_tool.main([*trained, '--cfg-options', *words, *gone]) == 0


def test_another_backbone_needs_a_second_head() -> None:
    other = Config.fromfile(PATHS[1]).model
    assert mm_config.load_config(PATHS[0], {}, other.model_name).model == other
    for name in ('raft_mlp_s', 'test_resnet'):
        with pytest.raises(ValueError, match=f'--backbone {name} must have a second head for the teacher'):
            mm_config.load_config(PATHS[0], {}, name)
    mm_config.load_config(PATHS[0], {}, 'deit_tiny_distilled_patch16_224')
