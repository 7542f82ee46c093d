"""The OpenMMLab bridge."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip('mmengine')

import parity
import timm
import torch
import torchvision
from mmengine.fileio import put
from mmengine.logging import HistoryBuffer
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS
from torch import nn

import backbones
from backbones import mm
from backbones.mm import TimmFeatures
from registry import NARROW, SMALL, facts, family, has_public_code, shape, smallest, variants

# One of each kind: lists of stages, channels last, no stages, extra levels.
FOREIGN = ['test_resnet', 'test_convnext', 'swin_tiny_patch4_window7_224', 'test_vit', 'test_efficientnet']


@pytest.fixture
def picture(request):
    name = getattr(request.node, 'callspec', None) and request.node.callspec.params.get('name')
    small = name in backbones.list_models() and max(facts(name).img_size) <= SMALL
    return torch.randn(1, 3, *((33, 47) if small else (75, 101)))


def slim(name: str) -> dict:
    """Arguments that make a network of ours narrow and shallow: what the bridge does depends on neither."""
    return NARROW[family(name)] if name in backbones.list_models() else {}


def _agrees(model, maps, picture):
    for m, channels, stride in zip(maps, model.channels, model.strides, strict=True):
        assert m.shape[:2] == (1, channels)
        for side, whole in zip(m.shape[2:], picture.shape[2:], strict=True):
            assert side in (whole // stride, -(-whole // stride))


@pytest.mark.parametrize('name', [*variants(maps=True, pictures=True), *FOREIGN])
def test_any_model_gives_channels_first_maps_of_any_size(name, picture):
    model = MODELS.build({'type': 'TimmFeatures', 'model_name': name})
    maps = model.eval()(picture)
    _agrees(model, maps, picture)
    assert mm.feature_channels(name) == list(model.channels)


@pytest.mark.parametrize('norm', [None, 'layer', 'group'])
@pytest.mark.parametrize('name', [*smallest(maps=True, pictures=True), *FOREIGN])
def test_operators_of_mmcv_read_what_torch_reads(name, norm, picture):
    """mmcv's RoIAlign takes memory for NCHW, whatever the strides say; torchvision's does not."""
    ops = pytest.importorskip('mmcv.ops')
    model = TimmFeatures(name, out_norm=norm, **slim(name))
    for m, channels, stride in zip(model(picture), model.channels, model.strides, strict=True):
        laid = nn.Conv2d(channels, 4, 1)(m)  # a neck's layer
        boxes = torch.tensor([[0.0, 3.0, 2.0, 25.0, 30.0], [0.0, 0.0, 9.0, 40.0, 20.0]])
        read = ops.RoIAlign((2, 3), 1 / stride, sampling_ratio=2)(laid, boxes)
        expected = torchvision.ops.roi_align(laid, boxes, (2, 3), 1 / stride, sampling_ratio=2, aligned=True)
        torch.testing.assert_close(read, expected)


@pytest.mark.parametrize(('kind', 'axes'), [('layer', (1,)), ('group', (1, 2, 3))])
def test_a_norm_on_every_map(kind, axes, tmp_path):
    """Mean 0 and variance 1 over its axes; a file of weights with norms brings them, one without does not."""
    picture = torch.randn(2, 3, 96, 64)
    plain, normed = TimmFeatures('test_resnet').eval(), TimmFeatures('test_resnet', out_norm=kind).eval()
    normed.net.load_state_dict(plain.net.state_dict())
    for got, given in zip(normed(picture), plain(picture), strict=True):
        wanted = (given - given.mean(axes, keepdim=True)) / (given.var(axes, keepdim=True, correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        normed.norms[0].weight.fill_(3)
    for state, wanted in ((normed.state_dict(), 3), (plain.state_dict(), 1), (plain.net.state_dict(), 1)):
        torch.save(state, tmp_path / 'weights.pth')
        model = TimmFeatures(
            'test_resnet', out_norm=kind, init_cfg={'type': 'Pretrained', 'checkpoint': tmp_path / 'weights.pth'}
        )
        model.init_weights()
        assert set(model.norms[0].weight.tolist()) == {wanted}
        torch.testing.assert_close(model.net.state_dict(), plain.net.state_dict())
    torch.save(normed.state_dict(), tmp_path / 'weights.pth')
    with pytest.raises(ValueError, match='keys left over'):
        TimmFeatures('test_resnet', checkpoint_path=str(tmp_path / 'weights.pth'))


@pytest.mark.parametrize('name', [*smallest(maps=True, pictures=True), 'test_resnet'])
def test_levels_can_be_chosen(name, picture):
    full = TimmFeatures(name, **slim(name))
    some = TimmFeatures(name, out_indices=(0, -1), **slim(name))
    assert some.channels == (full.channels[0], full.channels[-1])
    state = {key: value for key, value in full.net.state_dict().items() if key in some.net.state_dict()}
    some.net.load_state_dict(state)
    for got, whole in zip(some.eval()(picture), [full.eval()(picture)[i] for i in (0, -1)], strict=True):
        torch.testing.assert_close(got, whole)


@pytest.mark.parametrize('name', [*smallest(maps=True, pictures=True), 'test_resnet', 'swin_tiny_patch4_window7_224'])
def test_every_weight_left_in_gets_a_gradient(name, picture):
    model = TimmFeatures(name, out_indices=(0, 1), **slim(name))
    sum(m.mean() for m in model(picture)).backward()
    assert [key for key, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize('name', [*smallest(maps=True, pictures=True), 'test_resnet', 'swin_tiny_patch4_window7_224'])
@pytest.mark.parametrize('stages', [-1, 0, 1, 2])
def test_frozen_stages_stay_as_they_are(name, stages, picture):
    whole = TimmFeatures(name, **slim(name))
    layers = timm.models.group_parameters(whole.net, whole.group_matcher(coarse=True), reverse=True)
    if stages >= max(layers.values()):
        pytest.skip('nothing is left to train')
    model = TimmFeatures(name, frozen_stages=stages, **slim(name))
    assert model.train() is model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    sum((m**2).mean() for m in model(picture)).backward()
    optimizer.step()
    matcher = timm.models.group_parameters(model.net, model.group_matcher(coarse=True), reverse=True)
    frozen = {key for key, p in model.net.named_parameters() if not p.requires_grad}
    assert frozen == {key for key, layer in matcher.items() if layer <= stages}
    for key, value in model.state_dict().items():
        module = key.removeprefix('net.').rpartition('.')[0]
        if key.removeprefix('net.') in frozen or any(k.startswith(f'{module}.') for k in frozen):
            torch.testing.assert_close(value, before[key], rtol=0, atol=0)  # statistics too
    assert any(not torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_too_many_frozen_stages_are_refused():
    with pytest.raises(ValueError, match='frozen_stages must be at most'):
        TimmFeatures('test_resnet', frozen_stages=99)


def test_channels_last_hook_turns_the_maps():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    HOOKS.build({'type': 'ChannelsLastHook'}).before_run(SimpleNamespace(model=model))
    x = model(torch.randn(2, 3, 9, 9))
    assert x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def test_channels_last_hook_refuses_operators_that_do_not_see_it():
    ops = pytest.importorskip('mmcv.ops')
    model = nn.Sequential(nn.Conv2d(3, 8, 3), ops.RoIAlign(7, 0.25))
    with pytest.raises(ValueError, match='a model with RoIAlign'):
        HOOKS.build({'type': 'ChannelsLastHook'}).before_run(SimpleNamespace(model=model))


def test_norm_eval_keeps_statistics(picture):
    model = TimmFeatures('test_resnet', norm_eval=True).train()
    before = {key: value.clone() for key, value in model.named_buffers()}
    model(picture.repeat(2, 1, 1, 1))
    assert all(torch.equal(value, before[key]) for key, value in model.named_buffers())
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize('name', smallest(maps=True, pictures=True))
def test_gradient_checkpointing_changes_no_gradient(name):
    picture = torch.randn(shape(name, 2, (64, 64)))
    models = [TimmFeatures(name, with_cp=flag, norm_eval=True, **slim(name)) for flag in (False, True)]
    models[1].load_state_dict(models[0].state_dict())
    for model in models:
        sum(m.mean() for m in model(picture)).backward()
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'model_name': 'lsnet_y'}, 'did you mean lsnet_'),
        ({'model_name': 'test_resnet', 'out_indices': (0, 9)}, 'out_indices must lie in'),
        ({'model_name': 'test_resnet', 'out_indices': (2, 1)}, 'rise'),
        ({'model_name': 'test_resnet', 'widht': 3}, 'widht'),
        ({'model_name': 'lsnet_t', 'widht': 3}, 'widht'),
        ({'model_name': 'max_former_cifar10dvs'}, 'max_former_cifar10dvs takes clips'),
        ({'model_name': 'test_resnet', 'init_cfg': {'type': 'Kaiming'}}, 'init_cfg'),
        ({'model_name': 'test_resnet', 'out_norm': 'batch'}, "out_norm must be 'layer', 'group' or None, got 'batch'"),
        ({'model_name': 'test_resnet', 'checkpoint_path': 'no.pth'}, r'no\.pth'),
        (
            {'model_name': 'test_resnet', 'pretrained': True, 'init_cfg': {'type': 'Pretrained', 'checkpoint': 'x'}},
            'one source',
        ),
    ],
)
def test_mistakes_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        TimmFeatures(**arguments)


def _record(name):
    return parity.load(Path(__file__).parent / 'records' / f'{name}.json.gz')


def _official(name):
    """The published state dict of a variant, with weights that anyone can rebuild."""
    record = _record(name)
    return {key: torch.from_numpy(value).float() for key, value in parity.state_arrays(record).items()}


def _published(name):
    """A published file with averages too, of which the family says whether it takes them."""
    state = _official(name)
    return {'model': state, 'model_ema': {k: 1.25 * v if v.is_floating_point() else v for k, v in state.items()}}


@pytest.mark.parametrize('name', [*smallest(maps=True, pictures=True), 'test_resnet'])
@pytest.mark.parametrize('form', ['timm', 'official', 'wrapper', 'detector', 'checkpoint_path'])
def test_weights_of_each_kind_load(name, form, tmp_path, picture):
    kwargs = {} if form == 'official' else slim(name)
    whole = timm.create_model(name, **kwargs).eval()
    if form == 'official':
        if name not in backbones.list_models() or not has_public_code(name):
            pytest.skip('has no official form that we convert')
        whole.reset_classifier(_record(name)['classes'])
        whole.load_state_dict(backbones.convert(whole, _published(name)))
    path = str(tmp_path / 'weights.pth')
    source = TimmFeatures(name, **kwargs)
    source.net.load_state_dict(whole.state_dict(), strict=False)
    state = {
        'timm': lambda: whole.state_dict(),
        'official': lambda: _published(name),
        'checkpoint_path': lambda: whole.state_dict(),
        'wrapper': lambda: {'state_dict': source.state_dict()},
        'detector': lambda: {
            'state_dict': {f'backbone.{k}': v for k, v in source.state_dict().items()} | {'neck.x': torch.zeros(1)}
        },
    }[form]()
    torch.save(state, path)
    if form == 'checkpoint_path':
        model = TimmFeatures(name, out_indices=(0, 1), checkpoint_path=path, **kwargs)
    else:
        model = TimmFeatures(name, out_indices=(0, 1), init_cfg={'type': 'Pretrained', 'checkpoint': path}, **kwargs)
        model.init_weights()
    for got, expected in zip(model.eval()(picture), [source.eval()(picture)[i] for i in (0, 1)], strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize('name', ['lsnet_t', 'affnet_et'])
def test_own_files_with_averages_load_as_published_ones_do(name, tmp_path):
    whole = timm.create_model(name)
    state = whole.state_dict()
    averages = {key: value + 1 if value.is_floating_point() else value for key, value in state.items()}
    torch.save({'model': state, 'model_ema': averages}, tmp_path / 'own.pth')
    net = TimmFeatures(name, checkpoint_path=str(tmp_path / 'own.pth')).net
    expected = backbones.convert(whole, backbones.load_checkpoint(tmp_path / 'own.pth'))
    assert all(torch.equal(value, expected[key]) for key, value in net.state_dict().items())


def test_classification_weights_load_in_the_downstream_form(tmp_path):
    """Its bias tables have another size than those of the classifier."""
    whole = timm.create_model('lsnet_t')
    torch.save({'model': whole.state_dict()}, tmp_path / 'ours.pth')
    init = {'type': 'Pretrained', 'checkpoint': str(tmp_path / 'ours.pth')}
    model = TimmFeatures('lsnet_t', downstream=True, init_cfg=init)
    model.init_weights()
    got, given = model.net.state_dict(), whole.state_dict()
    same = [key for key, value in got.items() if value.shape == given[key].shape]
    assert all(torch.equal(got[key], given[key]) for key in same)
    assert 0 < len(same) < len(got)


def test_weights_of_another_model_are_refused(tmp_path):
    path = str(tmp_path / 'other.pth')
    torch.save(timm.create_model('test_convnext').state_dict(), path)
    model = TimmFeatures('test_resnet', init_cfg={'type': 'Pretrained', 'checkpoint': path})
    with pytest.raises(ValueError, match='holds no weights of test_resnet'):
        model.init_weights()


class _Detector(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Conv2d(8, 8, 1)


def test_published_detectors_load(tmp_path):
    """Their backbone has the names of its official repository, and no head."""
    model, path = _Detector(TimmFeatures('lsnet_t')), tmp_path / 'detector.pth'
    official = {key: value for key, value in _official('lsnet_t').items() if not key.startswith('head')}
    head = {f'head.{key}': value + 1 for key, value in model.head.state_dict().items()}
    torch.save({'meta': {}, 'state_dict': {**{f'backbone.{k}': v for k, v in official.items()}, **head}}, path)
    mm.load_weights(model, path)
    expected = backbones.convert(timm.create_model('lsnet_t', num_classes=0), official)
    assert all(torch.equal(value, expected[key]) for key, value in model.backbone.net.state_dict().items())
    assert torch.equal(model.head.weight, head['head.weight'])
    with pytest.raises(ValueError, match='holds no weights of lsnet_s'):
        mm.load_weights(_Detector(TimmFeatures('lsnet_s')), path)


@pytest.mark.parametrize('name', smallest(maps=True, pictures=True))
def test_last_level_is_that_of_the_published_detectors(name, picture):
    """With the final norm where the family says so."""
    whole = timm.create_model(name, **slim(name)).eval()
    for parameter in whole.norm.parameters():
        nn.init.uniform_(parameter, 1, 2)
    model = TimmFeatures(name, **slim(name)).eval()
    state = whole.state_dict()
    model.load_state_dict({key: state[key.removeprefix('net.')] for key in model.state_dict()})
    expected = whole.forward_intermediates(picture, norm=whole.feature_norm, intermediates_only=True)
    assert torch.equal(model(picture)[-1], expected[-1])
    assert whole.feature_norm == any(key.startswith('net.norm.') for key in model.state_dict())


@pytest.mark.parametrize('name', [*smallest(maps=True, pictures=True), 'test_resnet', 'swin_tiny_patch4_window7_224'])
def test_layer_decay_covers_every_weight_once(name):
    model = _Detector(TimmFeatures(name))
    config = {
        'type': 'OptimWrapper',
        'constructor': 'TimmLayerDecayConstructor',
        'optimizer': {'type': 'AdamW', 'lr': 1.0, 'weight_decay': 0.1},
        'paramwise_cfg': {'layer_decay_rate': 0.5},
    }
    groups = build_optim_wrapper(model, config).optimizer.param_groups
    listed = [id(p) for group in groups for p in group['params']]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    rate = {id(p): group['lr'] for group in groups for p in group['params']}
    decay = {id(p): group['weight_decay'] for group in groups for p in group['params']}
    assert rate[id(model.head.weight)] == 1.0
    exempt = model.backbone.no_weight_decay()
    layers = timm.models.group_parameters(model.backbone.net, model.backbone.group_matcher(), reverse=True)
    for key, p in model.backbone.net.named_parameters():
        assert rate[id(p)] == 0.5 ** (max(layers.values()) + 1 - layers[key])
        assert decay[id(p)] == (0.0 if p.ndim <= 1 or key in exempt else 0.1)


@pytest.mark.parametrize('name', [*smallest(maps=True, pictures=True), 'test_resnet'])
def test_layer_decay_knows_mmpretrains_classifier(name):
    pytest.importorskip('mmpretrain.models')
    model = MODELS.build({'type': 'mmpretrain.TimmClassifier', 'model_name': name})
    constructor = mm.TimmLayerDecayConstructor(
        {'type': 'OptimWrapper', 'optimizer': {'type': 'AdamW', 'lr': 1.0}}, {'layer_decay_rate': 0.5}
    )
    groups = constructor(model).optimizer.param_groups
    rate = {id(p): group['lr'] for group in groups for p in group['params']}
    assert len(rate) == len(list(model.parameters()))
    classes = model.model.num_classes
    classifier = {rate[id(p)] for p in model.parameters() if p.ndim <= 2 and p.shape[:1] == (classes,)}
    assert classifier == {1.0}
    first = model.model.get_submodule(model.model.pretrained_cfg['first_conv']).weight
    assert rate[id(first)] == min(rate.values()) < 1.0


def test_layer_decay_takes_the_custom_keys_of_mmengine():
    model = _Detector(TimmFeatures('test_resnet'))
    keys = {'head': {'lr_mult': 0.1}, 'head.weight': {'decay_mult': 0.5}, 'backbone': {'decay_mult': 0.0}}
    paramwise = {'layer_decay_rate': 0.5, 'norm_decay_mult': 0.0, 'custom_keys': keys}
    config = {'optimizer': {'type': 'AdamW', 'lr': 1.0, 'weight_decay': 0.2}}
    groups = mm.TimmLayerDecayConstructor(config, paramwise)(model).optimizer.param_groups
    found = {id(p): (group['lr'], group['weight_decay']) for group in groups for p in group['params']}
    assert found[id(model.head.weight)] == (1.0, 0.1)  # the longest key, and no other
    assert found[id(model.head.bias)] == (0.1, 0.0)
    assert {found[id(p)][1] for p in model.backbone.parameters()} == {0.0}


@pytest.mark.parametrize(
    'paramwise',
    [
        {},
        {'layer_decay_rate': 2},
        {'layer_decay_rate': 0.5, 'rate': 1},
        {'layer_decay_rate': 0.5, 'norm_decay_mult': 0.5},
        {'layer_decay_rate': 0.5, 'custom_keys': {'head': {'lr': 1}}},
    ],
)
def test_layer_decay_refuses_other_settings(paramwise):
    model = _Detector(TimmFeatures('test_resnet'))
    with pytest.raises(ValueError, match='layer_decay_rate'):
        mm.TimmLayerDecayConstructor({'optimizer': {'type': 'SGD', 'lr': 1.0, 'weight_decay': 0.1}}, paramwise)(model)


def test_adaptive_clipping_bounds_the_step():
    layer = nn.Linear(4, 4, bias=False)
    before = layer.weight.detach().clone()
    config = {'type': 'AdaptiveClipOptimWrapper', 'clip_factor': 0.02, 'optimizer': {'type': 'SGD', 'lr': 1.0}}
    wrapper = build_optim_wrapper(layer, config)
    wrapper.update_params((1e3 * layer(torch.ones(1, 4))).sum())
    moved = (layer.weight - before).norm(dim=1) / before.norm(dim=1)
    torch.testing.assert_close(moved, torch.full((4,), 0.02), rtol=1e-3, atol=0)


def test_adaptive_clipping_in_mixed_precision_clips_true_gradients(monkeypatch):
    """With a scaler and half precision of the CPU: the step of float32, and none after an overflow."""
    monkeypatch.setattr('mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', lambda: True)
    layer = nn.Linear(4, 4, bias=False)
    nn.init.constant_(layer.weight, 0.25)
    config = {'type': 'AdaptiveClipAmpOptimWrapper', 'clip_factor': 0.02, 'dtype': 'bfloat16'}
    wrapper = build_optim_wrapper(layer, {**config, 'optimizer': {'type': 'SGD', 'lr': 1.0}})
    wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=2.0**16)  # mmengine's is CUDA's alone
    slopes = torch.tensor([1e3, 1e-3, 1e3, 1e-3])
    with wrapper.optim_context(layer):
        scores = layer(torch.ones(1, 4))
        wrapper.update_params((slopes * scores).sum())
    assert scores.dtype == torch.bfloat16
    # Of units with a norm of 0.5 and gradients of 2000 and 0.002.
    moved = (layer.weight - 0.25).norm(dim=1)
    torch.testing.assert_close(moved, torch.tensor([0.01, 0.002, 0.01, 0.002]), rtol=1e-2, atol=0)
    before = layer.weight.detach().clone()
    wrapper.update_params(layer(torch.full((1, 4), 1e38)).sum())
    assert torch.equal(layer.weight, before) and wrapper.loss_scaler.get_scale() == 2.0**15


def test_the_neck_adds_finer_levels():
    pytest.importorskip('mmdet')
    neck = MODELS.build(
        {
            'type': 'TransposedConvFPN',
            'in_channels': [4, 8, 8],
            'out_channels': 16,
            'num_extra_trans_convs': 2,
            'num_outs': 5,
        }
    )
    plain = MODELS.build({'type': 'mmdet.FPN', 'in_channels': [4, 8, 8], 'out_channels': 16, 'num_outs': 3})
    plain.load_state_dict({key: value for key, value in neck.state_dict().items() if key in plain.state_dict()})
    maps = [torch.randn(1, 4, 12, 9), torch.randn(1, 8, 6, 5), torch.randn(1, 8, 3, 3)]
    outs = neck(maps)
    assert [tuple(m.shape) for m in outs[:2]] == [(1, 16, 48, 36), (1, 16, 24, 18)]
    for got, expected in zip(outs[2:], plain(maps), strict=True):
        torch.testing.assert_close(got, expected)
    with pytest.raises(ValueError, match='num_outs'):
        MODELS.build({'type': 'TransposedConvFPN', 'in_channels': [4, 8], 'out_channels': 16, 'num_outs': 5})


def test_a_half_written_file_never_replaces_a_whole_one(tmp_path, monkeypatch):
    target, backend = tmp_path / 'epoch_1.pth', {'backend': 'whole_file'}
    put(b'whole', target, backend_args=backend)

    def full_disk(handle):
        raise OSError('no space left')

    monkeypatch.setattr(os, 'fsync', full_disk)
    with pytest.raises(OSError, match='no space'):
        put(b'half', target, backend_args=backend)
    assert target.read_bytes() == b'whole'
    assert list(tmp_path.iterdir()) == [target]


def test_a_checkpoint_reaches_no_globals(tmp_path):
    """pickle names the methods of logged scores by getattr, which would reach the globals of functions too."""
    score = HistoryBuffer([0.5], [1])
    torch.save({'message_hub': {'loss': score}}, tmp_path / 'good.pth')
    assert mm.read_checkpoint(tmp_path / 'good.pth')['message_hub']['loss'].mean() == 0.5
    for owner, name in ((HistoryBuffer, '__init__'), (mm.read_checkpoint, '__globals__')):
        torch.save({'state_dict': _Reached(owner, name)}, tmp_path / 'evil.pth')
        with (
            torch.serialization.safe_globals([mm.read_checkpoint]),
            pytest.raises(ValueError, match='nothing in it was run'),
        ):
            mm.read_checkpoint(tmp_path / 'evil.pth')


class _Reached:
    def __init__(self, owner, name):
        self.found = owner, name

    def __reduce__(self):
        return getattr, self.found


def test_processes_validate_with_what_is_saved(tmp_path):
    """The averages of the first process; each has its own. What is no average, and may differ in shape, stays."""
    code = (
        'from types import SimpleNamespace\n'
        'import torch\n'
        'from backbones.mm import ResumeExactHook\n'
        "torch.distributed.init_process_group('gloo')\n"
        'rank = torch.distributed.get_rank()\n'
        'model = torch.nn.BatchNorm2d(2)\n'
        "model.register_buffer('grid', torch.full((1 + rank,), rank), persistent=False)\n"
        'model.running_mean.fill_(5 + rank)\n'
        'ResumeExactHook().before_val_epoch(SimpleNamespace(model=model))\n'
        'assert model.running_mean.tolist() == [5, 5] and model.grid.tolist() == [rank] * (1 + rank)\n'
    )
    (tmp_path / 'code.py').write_text(code)
    words = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', str(tmp_path / 'code.py')]
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=_environment(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_mmengine_alone_is_enough(tmp_path):
    code = (
        'import sys\n'
        "sys.modules.update({name: None for name in ('mmdet', 'mmseg', 'mmpretrain', 'mmcv')})\n"
        'from backbones.mm import TimmFeatures\n'
        "assert TimmFeatures('test_resnet').channels\n"
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, env=_environment(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def _environment() -> dict[str, str]:
    return {**os.environ, 'PYTHONPATH': str(Path(__file__).parents[1])}
