"""SWformer: the Haar basis of any length, the mixer in its spectrum, the forms of both sources."""

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import backbones
from backbones.layers import LIF, Neuron, TernaryIF, haar_matrix
from backbones.models.swformer import HaarMixer, SWFormer

SMALL = {'embed_dim': 32, 'depth': 2, 'groups': 2, 'img_size': 32, 'num_classes': 5}
CIFAR = {**SMALL, 'pools': (False, False, True, True), 'head_neuron': False}
STEP = {**CIFAR, 'signed': False, 'stem_spikes': True}


@torch.no_grad()
def lively(model: nn.Module) -> nn.Module:
    """`model` in float64 and eval mode with weights at which its neurons fire, now and then."""
    torch.manual_seed(0)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, _BatchNorm):
            spectral = name.endswith(('forward_norm', 'weigh.norm'))  # whose coefficients are few and small
            nn.init.uniform_(module.weight, *((3, 7) if spectral else (1, 3)))
            nn.init.uniform_(module.bias, *((1, 3) if spectral else (0.5, 1.5)))
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.double().eval()


def rates(model: nn.Module, x: torch.Tensor) -> list[float]:
    """How many of the values that each neuron gives are spikes."""
    seen = []
    neurons = [module for module in model.modules() if isinstance(module, Neuron)]
    hooks = [n.register_forward_hook(lambda _, args, out: seen.append(out.abs().mean().item())) for n in neurons]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(neurons)
    return seen


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def published(side: int) -> np.ndarray:
    """The Haar matrix of a power of two, by its recursion."""
    if side == 1:
        return np.ones((1, 1))
    upper = np.kron(published(side // 2), [1, 1])
    rows = np.vstack((upper, np.kron(np.eye(side // 2), [1, -1])))
    return np.sign(rows) / np.sqrt((rows != 0).sum(1, keepdims=True))


@pytest.mark.parametrize('side', [1, 2, 4, 8, 16, 64])
def test_basis_of_a_power_of_two_is_the_published_matrix(side: int) -> None:
    assert (haar_matrix(side, images(0)).numpy() == published(side)).all()


@pytest.mark.parametrize('side', [2, 3, 5, 7, 12, 33, 50, 100])
def test_basis_of_any_length_compares_neighbours(side: int) -> None:
    basis = haar_matrix(side, images(0))
    assert torch.allclose(basis @ basis.T, torch.eye(side).double(), atol=1e-13)
    assert torch.allclose(
        basis[1:].sum(1), torch.zeros(side - 1).double(), atol=1e-13
    )  # all but the mean are contrasts
    for row in basis[1:]:
        (support,) = row.nonzero(as_tuple=True)
        assert len(support) == support[-1] - support[0] + 1  # one piece, of one value in front and another behind
        assert len(row[support].unique()) == 2 and row[support[0]] > 0 > row[support[-1]]
    assert haar_matrix(side, torch.zeros(0).bfloat16()).dtype == torch.bfloat16


def fired(h: torch.Tensor, steps: int, signed: bool) -> torch.Tensor:
    """A neuron step by step: LIF, or the signed one that does not leak."""
    v, out = torch.zeros_like(h[: len(h) // steps]), []
    for x in h.chunk(steps):
        v = v + x if signed else v + (x - v) / 2
        s = (v >= 1).double() - (v <= -0.501).double() * signed
        v = torch.where(s != 0, 0.0, v)
        out.append(s)
    return torch.cat(out)


@torch.no_grad()
@pytest.mark.parametrize('sides', [(8, 8), (4, 16), (5, 6)], ids=str)
@pytest.mark.parametrize('signed', [True, False])
def test_mixer_is_its_equations(sides: tuple[int, int], signed: bool) -> None:
    steps, groups, width = 3, 2, 4
    mixer = lively(HaarMixer(8, groups, lambda: LIF(steps), lambda: TernaryIF(steps) if signed else LIF(steps)))
    x = 4 + 3 * images(2 * steps, 8, *sides)
    tall, wide = (haar_matrix(side, x) for side in sides)
    s = fired(x, steps, False)
    a = fired(torch.einsum('bchw,kw->bchk', s, wide), steps, signed)
    f = fired(mixer.forward_norm(torch.einsum('kh,bchw->bckw', tall, a)), steps, False)
    weights = mixer.weigh.conv.weight.unflatten(0, (groups, width))[..., 0, 0]  # g out in
    g = mixer.weigh.norm(torch.einsum('bgdhw,gkd->bgkhw', f.unflatten(1, (groups, width)), weights).flatten(1, 2))
    r = fired(g, steps, signed)
    q = fired(torch.einsum('bchk,kw->bchw', r, wide), steps, signed)
    y = mixer.inverse_norm(torch.einsum('kh,bckw->bchw', tall, q))
    for conv, norm in ((mixer.conv1, mixer.norm1), (mixer.conv2, mixer.norm2)):
        y = y + norm(torch.cat([conv(part) for part in s.chunk(groups, 1)], 1))
    rates = [round(float(part.abs().mean()), 3) for part in (s, a, f, r, q)]
    assert all(0.02 < rate < 0.98 for rate in rates), rates
    if signed:
        assert all((part < 0).any() and (part > 0).any() for part in (r, q))
    assert torch.allclose(mixer(x), y, rtol=1e-12, atol=1e-12)
    assert torch.allclose(mixer.fuse()(x), y, rtol=1e-12, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize('form', [SMALL, CIFAR, STEP], ids=['original', 'cifar', 'step'])
def test_neurons_fire_and_fuse_keeps_them(form: dict) -> None:
    model = lively(SWFormer(**form))
    x = images(2, 3, 37, 50)
    seen = rates(model, x)
    assert all(0.02 < rate < 0.98 for rate in seen), seen
    fused = backbones.deploy.fuse(model)
    assert rates(fused, x) == seen
    assert torch.allclose(fused(x), model(x), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_stem_of_both_forms() -> None:
    """STEP pools spikes of the last convolution and adds to them, the original pools and adds membranes."""
    x = images(1, 3, 32, 32)
    step, original = (lively(SWFormer(**form)) for form in (STEP, CIFAR))
    tapped = step.stem[:4](step.encode(x))
    assert tapped.unique().tolist() == [0, 1] and tapped.shape == (4, 32, 8, 8)
    assert torch.equal(step.stem[4](tapped), tapped + step.stem[4].conv_norm(tapped))
    tapped = original.stem[:4](original.encode(x))
    assert len(tapped.unique()) > 100
    spikes = fired(tapped, 4, False)
    assert torch.equal(original.stem[4](tapped), tapped + original.stem[4].conv_norm(spikes))
    assert [info['reduction'] for info in original.feature_info] == [1, 2, 4]
    assert [info['reduction'] for info in SWFormer(**SMALL).feature_info] == [4, 8, 16]


@torch.no_grad()
def test_neuron_in_front_of_the_classifier_sees_every_step() -> None:
    model = lively(SWFormer(**SMALL))
    x = images(2, 3, 64, 48)
    maps = []
    model.stages[0].register_forward_hook(lambda _, args, out: maps.append(out))
    given = model(x)
    pooled = fired(maps[0].mean((2, 3)), 4, False)
    assert 0.02 < pooled.mean() < 0.98
    expected = model.head(pooled.unflatten(0, (4, 2)).mean(0))
    assert torch.allclose(given, expected, rtol=1e-12, atol=1e-12)
    constant = fired(model.forward_features(x).mean((2, 3)).repeat(4, 1), 4, False)
    assert torch.equal(model.forward_head(model.forward_features(x), pre_logits=True), constant.view(4, 2, 32).mean(0))


def test_gradient_of_the_signed_neuron_passes_its_reset() -> None:
    """The published one does not detach: what fired at one step is felt by the next."""
    x = torch.tensor([[1.2], [0.4]], dtype=torch.float64, requires_grad=True)
    through, detached = (
        torch.autograd.grad(TernaryIF(2, detach_reset=detach)(x)[1].sum(), x)[0].flatten() for detach in (False, True)
    )
    assert through[1] == detached[1] and detached[0] == 0
    up = 4 * torch.sigmoid(torch.tensor(0.8)) * torch.sigmoid(torch.tensor(-0.8))  # surrogate at 1.2 - 1
    down = 4 * torch.sigmoid(torch.tensor(-6.804)) * torch.sigmoid(torch.tensor(6.804))  # and at -1.2 - 0.501
    assert through[0].item() == pytest.approx((-1.2 * (up + down) * detached[1]).item(), rel=1e-5)


def test_variants() -> None:
    with torch.device('meta'):
        model = timm.create_model('swformer_cifar')
        assert model.stages[0].blocks[0].mixer.conv1.in_channels == 24
        assert timm.create_model('swformer_6_512').head_steps and not model.head_steps


def test_mistakes() -> None:
    for bad in ({'embed_dim': 36}, {'groups': 5}, {'depth': 0}, {'mlp_ratio': 0}):
        with pytest.raises(ValueError, match='8 and the groups divide'):
            SWFormer(**{**SMALL, **bad})
    with pytest.raises(ValueError, match='each of the 4 convolutions'):
        SWFormer(**SMALL, pools=(True, True))
    with pytest.raises(ValueError, match='whole number of at least 1'):
        SWFormer(**SMALL, num_steps=0)
