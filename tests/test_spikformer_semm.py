"""Spikformer with experts: its equations, its router, and what published checkpoints hold."""

import pytest
import timm
import torch
import torch.nn.functional as F
from spiking_reference import check_rates, lively
from spiking_reference import spikes as lif
from torch import nn

from backbones.deploy import fuse
from backbones.models.spikformer_semm import SpikformerSemm

CIFAR = {'pools': (2, 3), 'scale': 0.125, 'kv_norm': True, 'flat_router': True, 'linear': True}
IMAGENET = {'pools': (1, 2)}


def small(**kwargs) -> SpikformerSemm:
    torch.manual_seed(0)
    numbers = {'embed_dim': 24, 'depth': 2, 'expert_dim': 6, 'num_experts': 3, 'mlp_dim': 20, 'num_steps': 3}
    model = SpikformerSemm(**{**numbers, 'num_classes': 5, **kwargs})
    lively(model)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.bias, 0.3, 1.5)
            elif isinstance(module, nn.Conv2d) and module.groups > 1:
                nn.init.uniform_(module.weight, -0.5, 1)
        for block in model.stages[-1].blocks:
            nn.init.uniform_(block.attn.kv.conv.weight, -0.4, 0.6)
    return model


def picture(*sides: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, *sides, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def reference(model: SpikformerSemm, x: torch.Tensor, pools: tuple[int, ...], scale: float, flat: bool) -> torch.Tensor:
    """The map behind the last block at every step, expert by expert."""
    w, steps, experts = model.state_dict(), model.num_steps, model.num_experts

    def fires(x: torch.Tensor, name: str) -> torch.Tensor:
        weight = w[f'{name}.conv.weight']
        groups = x.shape[1] // weight.shape[1]
        x = F.conv2d(x, weight, w.get(f'{name}.conv.bias'), padding=weight.shape[-1] // 2, groups=groups)
        if f'{name}.norm.weight' in w:
            of = [w[f'{name}.norm.{part}'] for part in ('running_mean', 'running_var', 'weight', 'bias')]
            x = F.batch_norm(x, *of)
        return lif(x, steps)

    x = x.repeat(steps, 1, 1, 1)
    for i in range(4):
        x = fires(x, f'{model.stem_names[f"stem.{i}"]}.conv')
        x = F.max_pool2d(x, 3, 2, 1) if i in pools else x
    x = x + fires(x, f'{model.stem_names["stem.4"]}.conv')
    for b in range(len(model.stages[-1].blocks)):
        at = f'stages.1.blocks.{b}'
        count, positions = len(x), x.shape[2] * x.shape[3]
        router = fires(x, f'{at}.attn.router').flatten(2)  # TB E N
        k, v = fires(x, f'{at}.attn.kv').flatten(2).split((6, 24), 1)
        q = fires(x, f'{at}.attn.q').flatten(2)
        y = torch.zeros(count, 24, positions, dtype=x.dtype)
        for e in range(experts):
            r = lif(scale * torch.einsum('bdn,bdm,bcm->bcn', q[:, 6 * e : 6 * e + 6], k, v), steps)
            for n in range(positions):
                gate = router.flatten(1)[:, experts * n + e] if flat else router[:, e, n]
                y[:, :, n] += gate[:, None] * r[:, :, n]
        x = x + fires(y.view_as(x), f'{at}.attn.proj.conv')
        gate, other = fires(x, f'{at}.mlp.fc1.conv').chunk(2, 1)
        x = x + fires(fires(gate, f'{at}.mlp.spread.conv') * other, f'{at}.mlp.fc2.conv')
    return x


@torch.no_grad()
@pytest.mark.parametrize('sides', [(32, 32), (45, 50)], ids=str)
@pytest.mark.parametrize('form', [CIFAR, IMAGENET], ids=['cifar', 'imagenet'])
def test_model_is_its_equations(form: dict, sides: tuple[int, int]) -> None:
    model, x = small(**form), picture(*sides)
    check_rates(model, x)
    maps = reference(model, x, form['pools'], form.get('scale', 1.0), form.get('flat_router', False))
    expected = maps.unflatten(0, (3, 2)).mean(0)
    assert (model.forward_features(x) - expected).abs().max() <= 1e-12
    w = model.state_dict()
    logits = F.linear(expected.mean((2, 3)), w['head.weight'], w['head.bias'])
    assert (model(x) - logits).abs().max() <= 1e-12 * logits.abs().max()
    assert (fuse(model)(x) - logits).abs().max() <= 1e-12 * logits.abs().max()


@torch.no_grad()
def test_the_reading_of_the_router_matters() -> None:
    flat, turned = small(**CIFAR), small(**{**CIFAR, 'flat_router': False})
    turned.load_state_dict(flat.state_dict())
    x = picture(32, 32)
    assert not torch.equal(flat(x), turned(x))


@torch.no_grad()
def test_each_image_has_its_own_answer() -> None:
    model, x = small(**IMAGENET), picture(64, 64, batch=3)
    assert torch.allclose(model(x)[1], model(x[1:2])[0], rtol=1e-12)
    assert not torch.allclose(model(x)[0], model(x)[1])


def test_norms_that_nothing_uses_are_dropped_where_nothing_uses_them() -> None:
    with torch.device('meta'):
        cifar, imagenet = (timm.create_model(name) for name in ('spikf_semm_cifar', 'spikf_semm_imagenet_384'))
    assert 'stages.1.blocks.0.attn.kv.norm.weight' in cifar.state_dict()
    assert not [key for key in imagenet.state_dict() if '.attn.kv.norm.' in key]


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        ({'embed_dim': 20}, 'multiple of 8'),
        ({'mlp_dim': 21}, 'one of 2'),
        ({'num_experts': 0}, 'at least'),
        ({'pools': (2,)}, 'at least two different ones'),
        ({'num_steps': 2.0}, 'whole number of at least 1'),
    ],
    ids=str,
)
def test_mistakes(kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpikformerSemm(**{'embed_dim': 24, 'mlp_dim': 20, **kwargs})
