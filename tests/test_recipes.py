"""Published trainings of classifiers, one by one; what holds of all is in `recipes`, which `test_configs` calls."""

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmpretrain')

import mm_runs
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, init_default_scope
from mmpretrain.registry import TRANSFORMS
from torchvision import transforms

from backbones.mm import build_model


def load(name: str) -> Config:
    return Config.fromfile(mm_runs.ROOT / f'configs/classification/{name}_imagenet.py')


def test_lsnet_has_the_rates_of_its_published_log():
    """But for the official script's first epoch, which it repeats."""
    found = mm_runs.rates(load('lsnet_t'), 1)
    log = {1: 1e-6, 2: 8.008e-4, 5: 3.2002e-3, 6: 3.997266e-3, 100: 3.020538e-3, 200: 1.025647e-3, 299: 1.0437537e-5}
    assert [found[epoch - 1] for epoch in log] == pytest.approx(list(log.values()), rel=1e-3)


@pytest.mark.parametrize(('name', 'level', 'least', 'mixed'), [('6', 7, 0.08, 1.0), ('8', 5, 0.2, 0.6)])
def test_swformer_changes_and_mixes_pictures_as_published(name, level, least, mixed):
    config = load(f'swformer_{name}_512')
    steps = {step.type: step for step in config.train_dataloader.dataset.pipeline}
    assert steps['RandAugment'].magnitude_level == level
    assert steps['RandomResizedCrop'].crop_ratio_range[0] == least
    assert sum(config.model.train_cfg.probs) == pytest.approx(mixed)


def test_statistics_are_averaged_with_the_weights():
    (settings,) = load('lsnet_t').custom_hooks
    del settings.priority  # which the runner takes out
    hook = HOOKS.build({**settings, 'momentum': 0.25})
    model = build_model(
        Config({'default_scope': 'mmpretrain', 'model': dict(type='TimmClassifier', model_name='test_byobnet')})
    )
    runner: Any = SimpleNamespace(model=model, iter=0, epoch=0)
    name = next(key for key, _ in model.named_buffers() if key.endswith('running_mean'))
    hook.before_run(runner)
    for value in (1.0, 5.0):
        model.get_buffer(name).fill_(value)
        hook.after_train_iter(runner, 0)
    hook.before_val_epoch(runner)
    assert model.get_buffer(name).unique().tolist() == [2.0]
    hook.after_val_epoch(runner)
    assert model.get_buffer(name).unique().tolist() == [5.0]


@pytest.mark.parametrize(
    ('name', 'decays', 'spared'),
    [
        ('strip_mlp_tiny_light', 'mlp.gamma', 'tokens.norm.weight'),
        ('glnet_stl', 'slot_scale', 'mlp.norm.weight'),
        ('spartan_t', 'scale1', 'smixer.gamma'),
        ('swin_tiny_patch4_window7_224', 'qkv.weight', 'relative_position_bias_table'),
        ('lsnet_t', 'qkv.conv', 'attention_biases'),
        ('raft_mlp_s', 'norm.weight', None),
    ],
)
def test_what_decays_is_as_published(name, decays, spared):
    """Where the official rule goes beyond sparing whatever has one axis."""
    config = load(name)
    with torch.device('meta'):
        model = build_model(config)
    groups = build_optim_wrapper(model, config.optim_wrapper).optimizer.param_groups
    rates = {id(parameter): group['weight_decay'] for group in groups for parameter in group['params']}
    named = {name: rates[id(parameter)] for name, parameter in model.named_parameters()}
    assert {rate > 0 for name, rate in named.items() if decays in name} == {True}
    assert spared is None or {rate > 0 for name, rate in named.items() if spared in name} == {False}


def test_spartan_changes_pictures_as_torchvision():
    """Each operation has the strength that torchvision's table gives it at the level of the recipe."""
    init_default_scope('mmpretrain')
    (settings,) = [s for s in load('spartan_t').train_dataloader.dataset.pipeline if s.type == 'RandAugment']
    table = transforms.RandAugment()._augmentation_space(settings.total_level + 1, (1, 1))
    wanted = [float(values[settings.magnitude_level]) if values.ndim else 0.0 for values, _ in table.values()]
    assert [_strength(operation) for operation in TRANSFORMS.build(settings)] == pytest.approx(wanted)


def _strength(operation: Any) -> float:
    if getattr(operation, 'bits', None):
        return operation.bits
    return operation.random_magnitude() if operation.magnitude_range else 0.0
