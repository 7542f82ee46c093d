"""timm's contract, held against every registered backbone."""

import copy
import re
from collections.abc import Callable

import pytest
import timm
import torch
from timm.models import group_parameters
from torch import nn

import backbones
from backbones import base
from backbones.build import RATIOS
from registry import SMALL, facts, make, narrow, shape, shortened, smallest, variants

SIZE = (64, 96)  # height and width in pixels
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
HALF = [('cpu', torch.bfloat16), *(pytest.param('cuda', dtype, marks=GPU) for dtype in (torch.bfloat16, torch.float16))]


def export_params() -> list:
    """All variants; those with maps are `full`, since test_export traces their pyramids with free sides anyway."""
    return [
        pytest.param(*param.values, marks=pytest.mark.full) if facts(param.values[0]).maps else param
        for param in variants()
    ]


@pytest.fixture(scope='module', params=variants())
def name(request) -> str:
    return request.param


@pytest.fixture(scope='module')
def model(name) -> nn.Module:
    torch.manual_seed(0)
    return shortened(make(name, num_classes=7))


@pytest.fixture(scope='module')
def images(name) -> torch.Tensor:
    return torch.randn(shape(name, 2, SIZE), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_contract_forward(model, images):
    features = model.forward_features(images)
    pooled = model.forward_head(features, pre_logits=True)
    assert features.shape[:2] == (2, model.num_features)
    assert pooled.shape == (2, model.head_hidden_size)
    if model.head_steps:  # its neurons are given the map of each step: alike where there is one step
        model = copy.deepcopy(model)
        model.set_num_steps(1)
        images = images[:, :1] if model.clips else images
        features = model.forward_features(images)
    assert torch.equal(model.forward_head(features), model(images))
    assert model(images).shape == (2, 7)
    assert model(images).isfinite().all()
    assert torch.allclose(model(images[:1]), model(images)[:1], atol=1e-5)


@torch.no_grad()
def test_contract_num_steps_may_be_set(name, model, images):
    if not facts(name).num_steps:
        pytest.skip('has no time')
    model = copy.deepcopy(model)
    model.num_steps = 2
    assert model.num_steps == 2 and model(images[:, :2] if model.clips else images).shape == (2, 7)
    with pytest.raises(ValueError, match='num_steps'):
        model.num_steps = 0


@torch.no_grad()
def test_contract_images_in_parts(model, images, monkeypatch):
    """A stage that takes an image at a time in evaluation gives what it gives for all at once."""
    model, images = copy.deepcopy(model).double(), images.double()
    maps = model.forward_intermediates(images, intermediates_only=True) if model.layout != 'NC' else []
    whole = [model(images), *maps]
    monkeypatch.setattr(base, 'PART', 1)
    maps = model.forward_intermediates(images, intermediates_only=True) if model.layout != 'NC' else []
    for a, b in zip(whole, [model(images), *maps], strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize('sides', [(32, 32), (45, 75), (33, 128)], ids=str)
def test_contract_any_size(model, sides):
    image = torch.randn(model.input_shape(1, sides))
    if not model.any_size:
        with pytest.raises(ValueError, match=rf'{model.img_size[0]} x {model.img_size[1]} pixels alone'):
            model(image)
        return
    maps = model.forward_intermediates(image, intermediates_only=True)
    for level, info in zip(maps, model.feature_info, strict=True):
        assert level.shape == (1, info['num_chs'], *(-(-side // info['reduction']) for side in sides))
        assert level.isfinite().all()


def test_contract_without_maps(name, model, images):
    if facts(name).maps:
        assert len(model.feature_info) >= 2
        return
    for call in (
        lambda: model.forward_intermediates(images),
        lambda: make(name, features_only=True),
    ):
        with pytest.raises(ValueError, match='has no feature maps'):
            call()


@torch.no_grad()
def test_contract_intermediates(name, model, images):
    if not facts(name).maps:
        pytest.skip('no maps')
    count = len(model.feature_info)
    last, maps = model.forward_intermediates(images)
    assert len(maps) == count
    assert torch.equal(last, model.forward_features(images))
    some = model.forward_intermediates(images, indices=[0, -1], intermediates_only=True)
    assert torch.equal(some[0], maps[0]) and torch.equal(some[1], maps[-1])
    assert [m.shape for m in model.forward_intermediates(images, indices=2, intermediates_only=True)] == [
        m.shape for m in maps[-2:]
    ]
    early, first = model.forward_intermediates(images, indices=[0], stop_early=True)
    assert torch.equal(early, maps[0]) and torch.equal(first[0], maps[0])
    nhwc = model.forward_intermediates(images, output_fmt='NHWC', intermediates_only=True)
    assert all(torch.equal(a.permute(0, 3, 1, 2), b) for a, b in zip(nhwc, maps, strict=True))
    normed = model.forward_intermediates(images, norm=True, intermediates_only=True)
    assert torch.equal(last, maps[-1] if model.head_norm else normed[-1])
    for bad in ({'indices': [count]}, {'indices': count + 1}, {'output_fmt': 'CHWN'}):
        with pytest.raises(ValueError, match=r'must (lie|be)'):
            model.forward_intermediates(images, **bad)


@torch.no_grad()
def test_contract_features_only(name, model, images):
    if not facts(name).maps:
        pytest.skip('no maps')
    maps = model.forward_intermediates(images, norm=model.feature_norm, intermediates_only=True)
    for indices in [None, (0,), (len(maps) - 2, len(maps) - 1), (-1,)]:
        kwargs = {} if indices is None else {'out_indices': indices}
        features = shortened(make(name, features_only=True, **kwargs))
        state = model.state_dict()
        features.load_state_dict({f'model.{k}': state[k] for k in features.model.state_dict()}, strict=True)
        expected = maps if indices is None else [maps[i] for i in indices]
        found = features(images)
        assert [f.shape[1] for f in found] == features.feature_info.channels()
        assert [-(-images.shape[-2] // r) for r in features.feature_info.reduction()] == [f.shape[2] for f in found]
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        names = {n for n, _ in features.model.named_modules()}
        assert set(features.feature_info.module_name()) <= names
    with pytest.raises(ValueError, match='levels'):
        make(name, features_only=True, out_indices=(0, 99))


@torch.no_grad()
def test_contract_classifier(name, images):
    model = shortened(make(name, num_classes=7))
    before = model.forward_features(images)
    model.reset_classifier(5)
    assert model(images).shape == (2, 5) and model.get_classifier() is model.head
    model.reset_classifier(3, 'catavgmax')
    assert model(images).shape == (2, 3) and model.head_hidden_size == 2 * model.num_features
    model.reset_classifier(0, 'avg')
    assert model(images).shape == (2, model.num_features)
    model.reset_classifier(0, '')
    assert torch.equal(model(images), before)
    assert shortened(make(name, num_classes=0))(images).shape == (2, model.num_features)
    assert shortened(make(name, num_classes=0, global_pool=''))(images).shape == before.shape
    with pytest.raises(ValueError, match='pooling'):
        model.reset_classifier(5, '')


def test_contract_backward_and_checkpointing(name, images):
    torch.manual_seed(0)
    model = shortened(make(name, num_classes=7, drop_rate=0.0)).train()
    for p in model.parameters():  # published initialisations hold zeros that would hide a gradient
        nn.init.normal_(p, std=0.05) if p.ndim > 1 else nn.init.uniform_(p, 0.5, 1)
    twin = copy.deepcopy(model)
    twin.set_grad_checkpointing()
    model(images).square().sum().backward()
    twin(images).square().sum().backward()
    for (key, a), b in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert a.grad is not None and a.grad.isfinite().all(), key
        assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-5 * float(a.grad.abs().max())), key


def seeded(network: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return network(images)


def test_contract_rates_change_training(name, images):
    shapes = {k: v.shape for k, v in make(name, num_classes=7).state_dict().items()}
    for rate in ({'drop_rate': 0.5}, {'drop_path_rate': 0.5}):
        model = make(name, num_classes=7, **rate)
        assert {k: v.shape for k, v in model.state_dict().items()} == shapes
        model = shortened(model)
        for p in model.parameters():
            nn.init.normal_(p, std=0.1) if p.ndim > 1 else nn.init.uniform_(p, 0.5, 1)
        twin = copy.deepcopy(model).train()
        model.train()
        # of the map, as spikes of a head may all fire; dropout comes behind it
        runs = [net if 'drop_rate' in rate else net.forward_features for net in (model, twin)]
        a = seeded(runs[0], images, 0)
        # many seeds: the few blocks that are left may have a small rate
        assert any(not torch.equal(a, seeded(runs[1], images, seed)) for seed in range(5, 50)), rate
        assert torch.equal(model.eval()(images[:1]), model(images[:1]))


def test_contract_groups(name):
    model = make(name, num_classes=7)
    names = [n for n, _ in model.named_parameters()]
    for coarse in (False, True):
        groups = group_parameters(model, model.group_matcher(coarse=coarse))
        assert sorted(n for group in groups.values() for n in group) == sorted(names)
        assert len(groups) > (len(model.stages) if coarse else 3)
        assert all(n.startswith('stem.') for n in groups[0])
    assert model.no_weight_decay() <= set(names)


@torch.no_grad()
def test_contract_in_chans(name):
    model = shortened(make(name, num_classes=7, in_chans=5))
    assert model(torch.randn(shape(name, 1, SIZE, channels=5))).shape == (1, 7)
    with pytest.raises(ValueError, match=r'\(B, (\d+, )?5, H, W\)'):
        model(torch.randn(shape(name, 1, SIZE)))
    with pytest.raises(ValueError, match='in_chans'):
        make(name, in_chans=0)


def test_contract_bad_input(name, model):
    one_axis_more = torch.randn(1, *model.input_shape(1, (64, 64)))
    for bad in (
        torch.randn(model.input_shape(1, (31, 64))),
        torch.randn(model.input_shape(1, (64, 20))),
        torch.randn(model.input_shape(1, (64, 64))[1:]),
        one_axis_more,
    ):
        with pytest.raises(ValueError, match='at least 32 pixels'):
            model(bad)
    with pytest.raises(ValueError, match='did you mean drop_path_rate'):
        make(name, drop_pathrate=0.1)


def test_contract_pretrained_cfg(name):
    model = make(name)
    cfg = model.pretrained_cfg
    for field in ('input_size', 'mean', 'std', 'interpolation', 'crop_pct', 'first_conv', 'classifier', 'license'):
        assert cfg[field], field
    for field in ('origin_url', 'paper_ids', 'paper_name'):
        assert cfg[field], field
    assert cfg['architecture'] == name and cfg['num_classes'] == model.num_classes
    first = model.get_submodule(cfg['first_conv'])
    assert first.weight.shape[1] == cfg['input_size'][0]
    classifiers = [cfg['classifier']] if isinstance(cfg['classifier'], str) else cfg['classifier']
    assert all(model.get_submodule(c).weight.shape[0] == model.num_classes for c in classifiers)
    with torch.device('meta'), torch.no_grad():  # shapes without values
        images = torch.empty(*model.input_shape()[:-3], *cfg['input_size'])
        grid = shortened(make(name)).forward_features(images).shape[2:]
    assert grid == cfg['pool_size']


@torch.no_grad()
def test_contract_set_input_size(name, images):
    model = make(name, num_classes=7).eval()
    same = copy.deepcopy(model)
    same.set_input_size(model.img_size)
    assert torch.equal(same(images), model(images))
    sides = (48, 40) if max(model.img_size) <= SMALL else (160, 96)
    model.set_input_size(sides)
    assert model(torch.randn(model.input_shape())).isfinite().all()
    if model.any_size:
        assert model(images).shape == (2, 7)
    else:
        with pytest.raises(ValueError, match=f'{sides[0]} x {sides[1]} pixels alone'):
            model(images)
    made = make(name, num_classes=7, img_size=sides)
    assert {k: v.shape for k, v in made.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match='at least 32'):
        model.set_input_size(16)


@torch.no_grad()
def test_contract_eval_keeps_nothing(name, images):
    """New weights take effect at once, in evaluation mode too."""
    model = shortened(make(name, num_classes=7))
    model(images)
    other = shortened(make(name, num_classes=7))
    for p in other.parameters():
        nn.init.normal_(p, std=0.1) if p.ndim > 1 else nn.init.uniform_(p, 0.5, 1)
    model.load_state_dict(other.state_dict())
    assert torch.equal(model(images), other(images))


@torch.no_grad()
@pytest.mark.parametrize('every', export_params())
def test_contract_export(every):
    """One exported program serves any batch, and any height and width past the last stride where these are free."""
    model = shortened(make(every, num_classes=7))
    least = max(32, model.feature_info[-1]['reduction']) + 1
    axis = len(model.input_shape()) - 2
    names = {0: ('batch', 1), **({axis: ('height', least), axis + 1: ('width', least)} if model.any_size else {})}
    shapes = {axis: torch.export.Dim(name, min=low) for axis, (name, low) in names.items()}
    traced, *others = [(2 * least, 3 * least), (least + 4, 2 * least), (3 * least, least)]
    if not model.any_size:
        traced, *others = [model.img_size] * 3
    program = torch.export.export(model, (torch.randn(model.input_shape(2, traced)),), dynamic_shapes=(shapes,))
    for batch, sides in zip((1, 3), others, strict=True):
        x = torch.randn(model.input_shape(batch, sides))
        assert torch.allclose(program.module()(x), model(x), atol=1e-4, rtol=1e-4)


def test_contract_compile(name, images):
    """The whole forward and backward is one graph."""
    model = shortened(make(name, num_classes=7)).train()
    twin = copy.deepcopy(model)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend='eager')
    a, b = compiled(images), twin(images)
    assert torch.allclose(a, b, atol=1e-4)
    a.sum().backward()
    b.sum().backward()
    for (key, p), q in zip(model.named_parameters(), twin.named_parameters(), strict=True):
        assert torch.allclose(p.grad, q[1].grad, atol=1e-3, rtol=1e-3), key


@pytest.mark.parametrize(('device', 'dtype'), HALF, ids=str)
def test_contract_autocast(name, images, device, dtype):
    """Half precision follows float32 as far as eight bits go, and its gradients are finite."""
    model = narrow(name, num_classes=7).train().to(device)  # processors without bfloat16 are slow at it
    images = images.to(device)
    with torch.autocast(device, dtype):
        half = model(images)
    half.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    model.eval()
    with torch.no_grad(), torch.autocast(device, dtype):
        half = model.forward_features(images)
    with torch.no_grad():
        full = model.forward_features(images)
    assert half.dtype in {dtype, torch.float32 if device == 'cuda' else dtype}  # norms give float32 on a GPU
    if facts(name).num_steps:  # a spike that rounding moves by a step moves others behind it, but as many fire
        half, full = half.mean((0, 2, 3)), full.mean((0, 2, 3))
    assert (half - full).abs().mean() <= 0.05 * full.abs().mean()


@pytest.mark.full
@torch.no_grad()
@pytest.mark.parametrize(('device', 'dtype'), [*HALF, ('cpu', torch.float16)], ids=str)
def test_contract_half_precision_of_large_images(name, model, device, dtype):
    """Sums over a million pixels leave half precision nowhere."""
    if not model.any_size:
        pytest.skip('takes one size')
    side = 256 if model.feature_info[0]['reduction'] == 1 else 1024  # small pictures, which are never reduced before
    image = torch.randn(model.input_shape(1, (side, side)), generator=torch.Generator().manual_seed(0)).to(device)
    if device != 'cpu':
        model = copy.deepcopy(model).to(device)
    with torch.autocast(device, dtype):
        half = model(image)
    assert half.isfinite().all()
    full = model(image)
    assert (half - full).abs().mean() <= 0.1 * full.abs().mean() + 1e-3


@pytest.mark.parametrize('wrong', [{'drop_path_rate': 1.0}, *({ratio: 0} for ratio in sorted(RATIOS))], ids=str)
@pytest.mark.parametrize('every', smallest())
def test_contract_rates_and_ratios(every, wrong):
    with pytest.raises(ValueError, match=r'must lie in \[0, 1\)|must be more than 0|takes the arguments'):
        make(every, **wrong)


@pytest.mark.parametrize('every', backbones.list_models())
def test_contract_of_every_backbone(every):
    """Shapes, groups and metadata of all variants, `full` or not: tensors without values make it cheap."""
    with torch.device('meta'):
        model = make(every, num_classes=3)
        names = [n for n, _ in model.named_parameters()]
        groups = group_parameters(model, model.group_matcher()).values()
        assert sorted(n for group in groups for n in group) == sorted(names)
        shortened(model)
        images = torch.empty(shape(every, 2, (71, 100)))
        sides = images.shape[-2:]
        assert model(images).shape == (2, 3)
        if facts(every).maps:
            maps = model.forward_intermediates(images, intermediates_only=True)
            for level, info in zip(maps, model.feature_info, strict=True):
                assert level.shape == (2, info['num_chs'], *(-(-side // info['reduction']) for side in sides))
            features = shortened(make(every, features_only=True, out_indices=(0, -1)))
            assert [f.shape[1] for f in features(images)] == features.feature_info.channels()
        model.reset_classifier(5)
        assert model(images).shape == (2, 5)
    cfg = model.pretrained_cfg
    assert cfg['architecture'] == every and cfg['origin_url'] and cfg['paper_ids']
    assert cfg['license'] in ('mit', 'apache-2.0', 'unknown')  # none is named otherwise
    assert model.get_submodule(cfg['first_conv']).weight.shape[1] == cfg['input_size'][0]


def test_contract_names():
    names = backbones.list_models()
    assert names and set(names) <= set(timm.list_models())
    for name in names:
        text = timm.model_entrypoint(name).__doc__
        assert text
        assert f'{facts(name).parameters / 1e6:.1f} M parameters' in text, name
        assert re.search(r'\d G MACs at \d+ x \d+\.', text), name
