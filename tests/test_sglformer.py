"""SGLFormer: its equations, its sub-grids, its pooling over steps, and what is left out of it."""

import pytest
import timm
import torch
import torch.nn.functional as F
from spiking_reference import check_rates, lively
from spiking_reference import spikes as lif
from torch import nn

import backbones
from backbones.deploy import fuse
from backbones.layers import StepPool, sub_grids, whole_grid
from backbones.models.sglformer import SglFormer

CIFAR = {'stem_dims': (4, 6, 12, 24, 24), 'pools': (3, 4), 'bias': False, 'step_pool': True, 'img_size': 32}
IMAGENET = {'stem_dims': (3, 6, 12, 24, 24), 'pools': (1, 2)}


def small(**kwargs) -> SglFormer:
    torch.manual_seed(0)
    model = SglFormer(**{'embed_dim': 24, 'depth': 1, 'num_heads': 3, 'num_steps': 3, 'num_classes': 5, **kwargs})
    lively(model)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 1, 3)
                nn.init.uniform_(module.bias, 0.5, 2)
            elif isinstance(module, nn.Conv2d) and module.groups > 1:
                nn.init.uniform_(module.weight, -0.5, 1)
    return model


def picture(*sides: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, *sides, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def reference(model: SglFormer, x: torch.Tensor, pools: tuple[int, ...], heads: int = 3) -> torch.Tensor:
    """The map behind the last block at every step, written down from the paper, position by position."""
    w, steps = model.state_dict(), model.num_steps

    def conv(x: torch.Tensor, name: str) -> torch.Tensor:
        weight = w[f'{name}.conv.weight']
        groups = x.shape[1] // weight.shape[1]
        x = F.conv2d(x, weight, w.get(f'{name}.conv.bias'), padding=weight.shape[-1] // 2, groups=groups)
        of = [w[f'{name}.norm.{part}'] for part in ('running_mean', 'running_var', 'weight', 'bias')]
        return F.batch_norm(x, *of)

    def fires(x: torch.Tensor, name: str) -> torch.Tensor:
        return lif(conv(x, name), steps)

    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        y = torch.zeros_like(q)
        for head in torch.arange(q.shape[1]).chunk(heads):
            a, b, c = (z[:, head].flatten(2) for z in (q, k, v))
            y[:, head] = torch.einsum('bcn,bcm,bdm->bdn', a, b, c).view(len(q), len(head), *q.shape[2:])
        return y

    x = x.repeat(steps, 1, 1, 1)
    for i in range(5):
        x = conv(x, f'{model.stem_names[f"stem.{i}"]}.conv')
        x = lif(F.max_pool2d(x, 3, 2, 1) if i in pools else x, steps)
    for b in range(len(model.stages[-1].blocks)):
        at = f'stages.1.blocks.{b}'
        if not b:
            y = x + fires(x, f'{at}.local.near.conv')
            z = fires(fires(fires(y, f'{at}.local.expand.conv'), f'{at}.local.spread.conv'), f'{at}.local.reduce.conv')
            x = x + y + z
        qkv = fires(x, f'{at}.attn.qkv').chunk(3, 1)
        if b:
            y = attention(*qkv)
        else:
            y = torch.zeros_like(x)
            for i in range(2):
                for j in range(2):
                    y[..., i::2, j::2] = attention(*(z[..., i::2, j::2] for z in qkv))
        x = x + fires(lif(0.125 * y, steps, 0.5), f'{at}.attn.proj')
        x = x + fires(fires(x, f'{at}.mlp.fc1'), f'{at}.mlp.fc2')
    return x


@torch.no_grad()
@pytest.mark.parametrize('sides', [(32, 32), (45, 50), (33, 71)], ids=str)
@pytest.mark.parametrize('form', [CIFAR, IMAGENET], ids=['cifar', 'imagenet'])
def test_model_is_its_equations(form: dict, sides: tuple[int, int]) -> None:
    model, x = small(**form), picture(*sides)
    check_rates(model, x)
    maps = reference(model, x, form['pools'])
    assert (model.forward_features(x) - maps.unflatten(0, (3, 2)).mean(0)).abs().max() <= 1e-12
    w = model.state_dict()
    pooled = maps.unflatten(0, (3, 2)).mean((0, 3, 4))
    if model.step_pool:
        cells = F.adaptive_avg_pool2d(maps, 8).unflatten(0, (3, 2)).flatten(3)  # T B C N
        kernel = w['head_pool.weight'].permute(2, 1, 0)[:, None]  # C 1 N T
        pooled = F.conv2d(cells.permute(1, 2, 3, 0), kernel, w['head_pool.bias'], groups=24).flatten(1)
        of = [w[f'head_pool.norm.{part}'] for part in ('running_mean', 'running_var', 'weight', 'bias')]
        pooled = F.batch_norm(pooled, *of)
    expected = F.linear(pooled, w['head.weight'], w['head.bias'])
    assert (model(x) - expected).abs().max() <= 1e-12 * expected.abs().max()
    assert (fuse(model)(x) - expected).abs().max() <= 1e-12 * expected.abs().max()


@pytest.mark.parametrize('sides', [(6, 8), (7, 5), (1, 2), (1, 1)], ids=str)
@pytest.mark.parametrize('step', [2, 3])
def test_sub_grids_hold_every_second_position(sides: tuple[int, int], step: int) -> None:
    x = torch.arange(2 * 3 * sides[0] * sides[1]).view(2, 3, *sides) + 1.0
    grids = sub_grids(x, step)
    assert torch.equal(whole_grid(grids, *sides, step), x)
    for b in range(2):
        for i in range(step):
            for j in range(step):
                grid, expected = grids[(b * step + i) * step + j], x[b, :, i::step, j::step]
                height, width = expected.shape[1:]
                assert torch.equal(grid[:, :height, :width], expected)
                assert grid.sum() == expected.sum()


@torch.no_grad()
@pytest.mark.parametrize('steps', [1, 2, 3, 4, 8])
def test_pooling_takes_any_number_of_steps(steps: int) -> None:
    pool = lively(StepPool(6, 4, 2))
    x = torch.rand(2, 6, 5, 4, dtype=torch.float64)
    expected = pool(x.repeat(4, 1, 1, 1))
    pool.set_num_steps(steps)
    assert torch.allclose(pool(x.repeat(steps, 1, 1, 1)), expected, rtol=1e-12)
    assert torch.allclose(fuse(pool)(x.repeat(steps, 1, 1, 1)), expected, rtol=1e-12)
    assert len(pool.weight) == 4
    if steps == 8:  # the steps of a map, two by two
        maps = torch.rand(8, 3, 6, 5, 4, dtype=torch.float64)
        halved = maps.unflatten(0, (4, 2)).mean(1)
        many = pool(maps.flatten(0, 1))
        pool.set_num_steps(4)
        assert torch.allclose(many, pool(halved.flatten(0, 1)), rtol=1e-12)


@torch.no_grad()
def test_steps_are_changed_and_changed_back() -> None:
    model, x = small(**CIFAR), picture(32, 32)
    before = model(x)
    model.set_num_steps(5)
    assert model(x).shape == before.shape and not torch.equal(model(x), before)
    model.set_num_steps(3)
    assert torch.equal(model(x), before)


@torch.no_grad()
def test_images_of_a_batch_are_alone_unless_they_are_mixed() -> None:
    model, mixed = small(**IMAGENET), small(**IMAGENET, mixed_batch=True)
    mixed.load_state_dict(model.state_dict())
    x = picture(64, 64, batch=3)
    assert torch.allclose(model(x)[1], model(x[1:2])[0], rtol=1e-12)
    assert torch.allclose(mixed(x[1:2]), model(x[1:2]), rtol=1e-12)
    assert not torch.allclose(mixed(x)[1], mixed(x[1:2])[0])


@torch.no_grad()
def test_another_pooling_replaces_the_weights() -> None:
    model, x = small(**CIFAR), picture(32, 32)
    state = model.state_dict()
    pooled = model.forward_head(model.forward_features(x), pre_logits=True)
    weights = model.head_pool.weight
    model.reset_classifier(7)
    assert model.head_pool.weight is weights and model(x).shape == (2, 7)
    model.reset_classifier(0)
    assert torch.equal(model.forward_head(model.forward_features(x)), pooled)
    other = small(**CIFAR, global_pool='max')
    assert not [key for key in other.state_dict() if key.startswith('head_pool')]
    other.load_state_dict(backbones.convert(other, state))
    assert torch.equal(other(x), other.head(other.forward_features(x).amax((2, 3))))


def test_left_out() -> None:
    assert not [name for name in backbones.list_models() if name in ('sglformer_cifar', 'sglformer_cifar_h12')]
    model = timm.create_model('sglformer_4_384_cifar')
    with pytest.raises(ValueError, match=r'unknown: stem\.stem_conv\.weight'):
        backbones.convert(model, {'stem.stem_conv.weight': torch.zeros(64, 3, 3, 3)})


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        ({'stem_dims': (4, 6)}, 'ends in embed_dim channels'),
        ({'depth': 0}, 'at least 1'),
        ({'pools': (1, 1)}, 'at least two different ones'),
        ({'pools': (1, 7)}, 'counted from 0'),
        ({'num_heads': 5}, 'must divide the 24 channels'),
        ({'num_steps': 0}, 'whole number of at least 1'),
    ],
    ids=str,
)
def test_mistakes(kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**{**IMAGENET, **kwargs})
