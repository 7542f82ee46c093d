"""Key tables and conversion of published checkpoints."""

import argparse
import sys
from pathlib import Path

import parity
import pytest
import timm
import torch
from timm.models import model_entrypoint
from torch import nn

import backbones
from backbones.keys import _compile, join, rename, unwrap
from registry import facts, has_public_code, size, smallest

RECORDS = Path(__file__).parent / 'records'


def classes(name: str) -> int:
    """Classes of the published state dict."""
    return parity.load(RECORDS / f'{name}.json.gz')['classes']


def official(name: str, derived: bool = False) -> dict[str, torch.Tensor]:
    """The published state dict of a variant in float32, with its index tables and counters if `derived`."""
    rows = parity.load(RECORDS / f'{name}.json.gz')['state']
    state = {
        k: torch.from_numpy(parity.uniform(k, s, low, high)).float() for k, s, low, high in rows if low is not None
    }
    tables = {k: torch.full(s, 7) for k, s, low, high in rows if low is None}
    return {**state, **tables} if derived else state


@pytest.fixture(scope='module', params=[*filter(has_public_code, smallest())])
def name(request) -> str:
    return request.param


@pytest.fixture(scope='module')
def state(name) -> dict[str, torch.Tensor]:
    return official(name)


@pytest.fixture(scope='module')
def file(state, tmp_path_factory) -> Path:
    """A published file, with averages too, of which a family says whether it takes them."""
    path = tmp_path_factory.mktemp('official') / 'official.pth'
    torch.save({'model': state, 'model_ema': averages(state), 'args': argparse.Namespace(lr=1)}, path)
    return path


def averages(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value + 1 if value.is_floating_point() else value for key, value in state.items()}


@pytest.fixture(scope='module')
def whole(name) -> nn.Module:
    """Of the published number of classes."""
    return timm.create_model(name, num_classes=classes(name))


def test_rename_counts_and_drops():
    table = {'a.{i}.w': 'b.{i-2}.w', 'old.{rest...}': 'new.{rest}', 'table': None}
    state = {k: torch.zeros(1) for k in ('a.5.w', 'old.x.y.z', 'table')}
    assert set(rename(state, table)) == {'b.3.w', 'new.x.y.z'}


def test_rename_lists_unknown_and_double_keys():
    with pytest.raises(ValueError, match=r'unknown: b\.w, c\.w'):
        rename({'a': torch.zeros(1), 'b.w': torch.zeros(1), 'c.w': torch.zeros(1)}, {'a': 'a'})
    with pytest.raises(ValueError, match='met twice: x'):
        rename({'a': torch.zeros(1), 'b': torch.zeros(1)}, {'a': 'x', 'b': 'x'})


QKV = {'{at...}.qkv.{of...}': ('{at...}.q.{of...}', '{at...}.k.{of...}', '{at...}.v.{of...}')}


def test_join_concatenates_in_the_order_of_the_table():
    state = {f'a.{i}.{part}.bn.bias': torch.full((2,), float(i)) + ord(part) for i in (0, 1) for part in 'vkq'}
    counters = {f'a.0.{part}.bn.num_batches_tracked': torch.tensor(3) for part in 'qkv'}
    joined = join({**state, **counters, 'q': torch.ones(1)}, QKV)
    assert set(joined) == {'a.0.qkv.bn.bias', 'a.1.qkv.bn.bias', 'a.0.qkv.bn.num_batches_tracked', 'q'}
    for i in (0, 1):
        assert torch.equal(joined[f'a.{i}.qkv.bn.bias'], torch.cat([state[f'a.{i}.{part}.bn.bias'] for part in 'qkv']))
    assert joined['a.0.qkv.bn.num_batches_tracked'].item() == 3
    assert join(joined, QKV) == joined


def test_join_asks_for_all_parts_and_nothing_else():
    parts = {f'a.{part}.w': torch.zeros(1) for part in 'qkv'}
    with pytest.raises(
        ValueError, match=r'all its parts, a\.q\.w, a\.k\.w, a\.v\.w, but this one holds a\.q\.w, a\.v\.w'
    ):
        join({key: value for key, value in parts.items() if key != 'a.k.w'}, QKV)
    with pytest.raises(ValueError, match=r'either a\.qkv\.w or'):
        join({**parts, 'a.qkv.w': torch.zeros(3)}, QKV)
    with pytest.raises(ValueError, match=r'one shape but for the first axis, but got \[\(1,\), \(2, 2\), \(1,\)\]'):
        join({**parts, 'a.k.w': torch.zeros(2, 2)}, QKV)


def test_unwrap_takes_averaged_weights_and_drops_prefixes():
    plain, averaged = {'w': torch.zeros(1)}, {'w': torch.ones(1)}
    assert torch.equal(unwrap({'model': plain, 'epoch': 3})['w'], plain['w'])
    assert torch.equal(unwrap({'model': plain, 'model_ema': averaged})['w'], averaged['w'])
    assert set(unwrap({'state_dict': {'module._orig_mod.w': plain['w']}})) == {'w'}
    with pytest.raises(ValueError, match='optimizer'):
        unwrap({'optimizer': {'lr': 1}})
    with pytest.raises(ValueError, match='mapping'):
        unwrap([1, 2])


def test_every_row_of_a_table_is_used():
    """A row that no published variant uses is a mistake in the table."""
    tables = {}
    for path in RECORDS.glob('*.json.gz'):
        variant = path.name.removesuffix('.json.gz').split('@')[0].removesuffix('_downstream')
        module = sys.modules[model_entrypoint(variant).__module__]
        unused = tables.setdefault(module.__name__, set(module.KEYS))
        keys = [row[0] for row in parity.load(path)['state']]
        unused -= {row for row in unused if any(_compile(row).fullmatch(key) for key in keys)}
    assert tables
    assert {name: rows for name, rows in tables.items() if rows} == {}


@pytest.mark.parametrize('container', ['plain', 'derived', 'model', 'state_dict', 'ema', 'module', 'mmengine'])
def test_convert_takes_every_container(name, state, whole, container):
    zeros = {k: torch.zeros_like(v) for k, v in state.items()}
    wrapped = {
        'plain': state,
        'derived': official(name, derived=True),
        'model': {'model': state, 'args': argparse.Namespace(lr=1), 'epoch': 3},
        'state_dict': {'state_dict': state},
        'ema': {'state_dict': zeros, 'state_dict_ema': state},
        'mmengine': {'meta': {}, 'state_dict': state, 'ema_state_dict': zeros},  # its averages are the former
        'module': {f'module.{k}': v for k, v in state.items()},
    }[container]
    converted = backbones.convert(whole, wrapped)
    whole.load_state_dict(converted, strict=True)
    reference = backbones.convert(whole, state)
    assert all(torch.equal(v, reference[k]) for k, v in converted.items() if not k.endswith('num_batches_tracked'))
    again = backbones.convert(whole, converted)
    assert all(torch.equal(v, converted[k]) for k, v in again.items())


def test_convert_takes_the_published_ones_of_weights_and_averages(name, state, whole, file):
    taken = backbones.convert(whole, backbones.load_checkpoint(file))
    published = backbones.convert(whole, state if whole.published == 'model' else averages(state))
    assert all(torch.equal(value, taken[key]) for key, value in published.items())


@pytest.mark.parametrize('name', [*filter(has_public_code, smallest(maps=True))])
def test_convert_for_a_feature_extractor(name):
    state = official(name)
    whole = timm.create_model(name, num_classes=classes(name)).eval()
    whole.load_state_dict(backbones.convert(whole, state))
    features = timm.create_model(name, features_only=True, out_indices=(0, 1)).eval()
    features.load_state_dict(backbones.convert(features, state), strict=True)
    x = torch.randn(whole.input_shape(1, size(name, (64, 64))))
    with torch.no_grad():
        expected = whole.forward_intermediates(x, indices=[0, 1], intermediates_only=True)
        assert all(torch.equal(a, b) for a, b in zip(features(x), expected, strict=True))


def test_convert_lists_what_does_not_fit(name, state, whole):
    key = next(iter(state))
    with pytest.raises(ValueError, match='1 keys missing'):
        backbones.convert(whole, {k: v for k, v in state.items() if k != key})
    with pytest.raises(ValueError, match='intruder'):
        backbones.convert(whole, {**state, 'intruder': torch.zeros(1)})
    with pytest.raises(ValueError, match='of another shape'):
        backbones.convert(whole, {**state, key: torch.zeros(9, 9)})
    with pytest.raises(ValueError, match='of another shape'):
        backbones.convert(timm.create_model(name, num_classes=5), state)
    with pytest.raises(ValueError, match='another model'):
        backbones.convert(whole, timm.create_model('resnet18').state_dict())
    with pytest.raises(ValueError, match='of this project'):
        backbones.convert(nn.Linear(1, 1), state)


@pytest.mark.parametrize(
    'kwargs', [{}, {'num_classes': 5, 'in_chans': 1}, {'num_classes': 0}, {'features_only': True}], ids=str
)
def test_create_model_takes_the_official_file(name, state, whole, file, kwargs):
    """timm adapts the classifier and the first convolution; all else must be the official weights."""
    if 'features_only' in kwargs and not facts(name).maps:
        pytest.skip('no maps')
    overlay = {'file': str(file), 'num_classes': classes(name)}
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **kwargs)
    inner = getattr(model, 'model', model)
    reference = backbones.convert(whole, backbones.load_checkpoint(file))
    assert 'state_dict' not in inner.pretrained_cfg and inner.pretrained_cfg['file'] == str(file)
    adapted = (inner.pretrained_cfg['first_conv'], *(() if kwargs.get('num_classes') is None else ('head',)))
    compared = [k for k in inner.state_dict() if not k.startswith(adapted) and not k.endswith('num_batches_tracked')]
    assert len(compared) > 20
    assert all(torch.equal(inner.state_dict()[k], reference[k]) for k in compared)


def test_create_model_refuses_broken_files(name, state, tmp_path):
    def load(path):
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay={'file': str(path)})

    whole = tmp_path / 'whole.pth'
    torch.save(state, whole)
    cut = tmp_path / 'cut.pth'
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    foreign = tmp_path / 'foreign.pth'
    torch.save(timm.create_model('resnet18').state_dict(), foreign)
    with pytest.raises(ValueError, match='whole weight file'):
        load(cut)
    with pytest.raises(ValueError, match='another model'):
        load(foreign)
    with pytest.raises(ValueError, match='there is none'):
        load(tmp_path / 'absent.pth')
