"""SpikingResformer: attention of spikes and real numbers, its rates of firing, clips."""

import copy
import math

import pytest
import timm
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import backbones
from backbones.layers import LIF, PLIF, DualSpikeAttention, Neuron, attend_spikes
from backbones.layers import dual_spike_attention as layer
from backbones.models.spiking_resformer import SpikingResformer

SMALL = {'dims': (8, 16, 24), 'num_heads': (1, 2, 3), 'group_size': 8, 'small': True, 'img_size': 32, 'num_classes': 5}


@torch.no_grad()
def lively(model: nn.Module) -> nn.Module:
    """`model` in float64 and eval mode with weights and rates at which its neurons fire, now and then."""
    torch.manual_seed(0)
    for name, buffer in model.named_buffers():
        if 'rate_' in name:
            buffer.uniform_(0.05, 0.2)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, _BatchNorm):
            nn.init.uniform_(module.weight, 1, 3)
            nn.init.uniform_(module.bias, 0, 0.5)
    return model.double().eval()


def rates(model: nn.Module, x: torch.Tensor) -> list[float]:
    """How many of the values that each neuron gives are spikes."""
    seen = []
    neurons = [module for module in model.modules() if isinstance(module, Neuron)]
    hooks = [neuron.register_forward_hook(lambda _, args, out: seen.append(out.mean().item())) for neuron in neurons]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(neurons)
    return seen


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_recomputed_blocks_see_the_rates_of_the_first_pass() -> None:
    """Rates move in training, and a forward pass that is done again for the gradient must not see them moved."""
    model = lively(timm.create_model('spikingresformer_ti', **SMALL)).train()
    twin, x = copy.deepcopy(model), images(2, 3, 32, 32)
    twin.set_grad_checkpointing()
    for network in (model, twin):
        network(x).square().sum().backward()
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-9, atol=1e-12)
    moved = [(a, b) for (name, a), b in zip(model.named_buffers(), twin.buffers(), strict=True) if 'rate_' in name]
    assert moved and all(torch.equal(a, b) for a, b in moved)


def spikes(h: torch.Tensor) -> torch.Tensor:
    """LIF of (T, ...) with tau 2 and threshold 1, step by step."""
    v, out = torch.zeros_like(h[0]), []
    for x in h:
        v = v + (x - v) / 2
        out.append((v >= 1).double())
        v = torch.where(v >= 1, 0.0, v)
    return torch.stack(out)


@torch.no_grad()
@pytest.mark.parametrize('sides', [(8, 8), (9, 14)], ids=str)
def test_attention_is_its_equations(sides: tuple[int, int]) -> None:
    steps, batch, heads, width, patch = 3, 2, 2, 4, 4
    attention = DualSpikeAttention(8, heads, patch, 9, lambda: LIF(steps))
    attention = lively(attention)
    attention.rate_in.copy_(torch.tensor([0.2, 0.3]).view(2, 1, 1))
    attention.rate_attn.copy_(torch.tensor([0.1, 0.4]).view(2, 1, 1))
    x = 2 * images(steps * batch, 8, *sides)
    s = spikes(x.unflatten(0, (steps, batch)))
    rows, columns = (-(-side // patch) for side in sides)
    padded = torch.zeros(steps * batch, 8, rows * patch, columns * patch, dtype=torch.float64)
    padded[:, :, : sides[0], : sides[1]] = s.flatten(0, 1)
    y = attention.patches.norm(nn.functional.conv2d(padded, attention.patches.conv.weight, stride=patch))
    y = y.unflatten(0, (steps, batch)).flatten(3)  # T B 2C M
    s = s.flatten(3)  # T B C N
    out = []
    for h in range(heads):
        k, v = y[:, :, 2 * width * h :][:, :, :width], y[:, :, 2 * width * h + width :][:, :, :width]
        charge = torch.einsum('tbdm,tbdn->tbmn', k, s[:, :, width * h : width * (h + 1)])
        a = spikes(charge / math.sqrt([0.2, 0.3][h] * width))
        assert 0.02 < a.mean() < 0.98
        out.append(torch.einsum('tbdm,tbmn->tbdn', v, a) / math.sqrt([0.1, 0.4][h] * 9))
    out = spikes(torch.cat(out, 2)).flatten(0, 1).unflatten(2, sides)
    assert 0.02 < out.mean() < 0.98
    expected = x + attention.proj(out)
    assert torch.allclose(attention(x), expected, rtol=1e-12, atol=1e-12)
    assert torch.allclose(attention.fuse()(x), expected, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_positions_may_be_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    k, v, q = images(8, 2, 4, 5), images(8, 2, 4, 5), images(8, 2, 4, 33)
    whole, calls = attend_spikes(k, v, q, LIF(4)), []
    monkeypatch.setattr(layer, 'PART', 8 * 2 * 5 * 4)
    neuron = LIF(4)

    def counted(x: torch.Tensor) -> torch.Tensor:
        calls.append(x.shape[-1])
        return neuron(x)

    assert torch.equal(attend_spikes(k, v, q, counted), whole)
    assert len(calls) > 1 and sum(calls) == 33 and 0.02 < neuron(k.mT @ q).mean() < 0.98
    seen = []
    neuron.register_forward_hook(lambda _, args, out: seen.append(out.shape[-1]))
    assert torch.equal(attend_spikes(k, v, q, neuron), whole)  # who watches the neuron sees all of it at once
    assert seen == [33]


def test_rates_follow_training_and_stay_in_evaluation() -> None:
    attention = DualSpikeAttention(8, 2, 2, 16, lambda: LIF(2)).double()
    x = 2 * images(4, 8, 8, 8)
    assert attention(x).isfinite().all()  # before anything has fired
    first = spikes(x.unflatten(0, (2, 2))).flatten(3).unflatten(2, (2, 4)).mean((0, 1, 3, 4))
    assert torch.allclose(attention.rate_in.flatten(), first)
    assert attention.rate_attn.shape == (2, 1, 1)
    attention(3 * x)
    second = spikes(3 * x.unflatten(0, (2, 2))).flatten(3).unflatten(2, (2, 4)).mean((0, 1, 3, 4))
    assert (first - second).abs().min() > 0.01
    assert torch.allclose(attention.rate_in.flatten(), 0.999 * first + 0.001 * second)
    before = attention.rate_in.clone(), attention.rate_attn.clone()
    attention.eval()(x)
    assert torch.equal(attention.rate_in, before[0]) and torch.equal(attention.rate_attn, before[1])


def test_silence_is_finite() -> None:
    model = SpikingResformer(**SMALL)
    for mode in (True, False):
        out = model.train(mode)(torch.zeros(2, 3, 32, 32))
        assert out.isfinite().all()
    out.sum().backward()


def test_length_is_that_of_the_size_it_was_made_for() -> None:
    def lengths(**kwargs) -> list[int]:
        model = SpikingResformer(**{**SMALL, **kwargs})
        model.set_input_size(96)
        return [module.length for module in model.modules() if isinstance(module, DualSpikeAttention)]

    assert lengths() == [64] * 6
    assert lengths(img_size=(32, 64)) == [128] * 6
    assert lengths(img_size=(33, 64)) == [144] * 6
    assert lengths(length=3136) == [3136] * 6
    assert lengths(small=False, img_size=224) == [196] * 6


@torch.no_grad()
def test_neurons_fire_and_fuse_keeps_them() -> None:
    model = lively(SpikingResformer(**SMALL))
    x = images(2, 3, 37, 50)
    fired = rates(model, x)
    assert all(0.02 < rate < 0.98 for rate in fired), fired
    fused = backbones.deploy.fuse(model)
    assert rates(fused, x) == fired
    assert torch.allclose(fused(x), model(x), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_a_clip_of_one_picture_is_an_image() -> None:
    image = lively(SpikingResformer(**SMALL, learn_tau=True))
    clip = SpikingResformer(**SMALL, learn_tau=True, clips=True).double().eval()
    clip.load_state_dict(image.state_dict())
    x = images(2, 3, 32, 40)
    assert torch.allclose(clip(x[:, None].expand(-1, 4, -1, -1, -1)), image(x), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(clip(images(2, 4, 3, 32, 40)), image(x))
    for bad in (x, images(2, 3, 3, 32, 40)):
        with pytest.raises(ValueError, match=r'\(B, 4, 3, H, W\)'):
            clip(bad)
    image.set_num_steps(2)
    assert image(x).shape == (2, 5)


def test_learnable_time_constant() -> None:
    x = images(8, 50).requires_grad_()
    plain, learned = LIF(4, surrogate='atan', alpha=2.0), PLIF(4, surrogate='atan', alpha=2.0).double()
    assert torch.equal(learned(x), plain(x))
    (expected,) = torch.autograd.grad(plain(x).square().sum(), x)
    given, w = torch.autograd.grad(learned(x).square().sum(), [x, learned.w])
    assert torch.allclose(given, expected, rtol=1e-12) and w.abs() > 0
    assert torch.sigmoid(PLIF(4, tau=5.0).w).item() == pytest.approx(0.2)
    with torch.no_grad():
        assert torch.equal(PLIF(4, tau=5.0).double()(x), LIF(4, tau=5.0)(x))


def test_clip_checkpoint_converts() -> None:
    """No file of it is at hand: keys as SpikingJelly's modules name them."""
    names = {'prologue.0.weight', 'classifier.weight'}
    norm = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
    names |= {f'prologue.1.bn.{p}' for p in norm}
    for stage, pairs in enumerate((1, 2, 3)):
        start = int(stage > 0)
        if stage:
            names |= {f'layers.{stage}.0.{p}' for p in ('conv.weight', 'activation.w')}
            names |= {f'layers.{stage}.0.norm.bn.{p}' for p in norm}
        for i in range(start, start + 2 * pairs, 2):
            parts = ['W.weight', 'Wproj.weight', 'firing_rate_x', 'firing_rate_attn']
            parts += [f'activation_{which}.w' for which in ('in', 'attn', 'out')]
            parts += [f'{which}.bn.{p}' for which in ('norm', 'norm_proj') for p in norm]
            names |= {f'layers.{stage}.{i}.{part}' for part in parts}
            parts = [f'{part}.{j}.{p}' for part in ('up', 'conv.0', 'down') for j, p in ((0, 'w'), (1, 'weight'))]
            parts += [f'{part}.2.bn.{p}' for part in ('up', 'conv.0', 'down') for p in norm]
            names |= {f'layers.{stage}.{i + 1}.{part}' for part in parts}
    module = backbones.models.spiking_resformer
    model = timm.create_model('spikingresformer_dvsg')
    table = {**module.TAU_KEYS, **module.KEYS}
    renamed = {name: next(iter(backbones.keys.rename({name: torch.zeros(1)}, table))) for name in names}
    assert set(renamed.values()) == set(model.state_dict())
    state = {name: torch.full_like(model.state_dict()[ours], i) for i, (name, ours) in enumerate(renamed.items())}
    state = {k: v.view(1, 1, -1, 1, 1) if 'firing_rate' in k else v for k, v in state.items()}
    model.load_state_dict(backbones.convert(model, state))
    for i, ours in enumerate(renamed.values()):
        assert (model.state_dict()[ours] == i).all()


def test_mistakes() -> None:
    for bad in ({'depths': (1, 2)}, {'dims': (8, 16, 0)}, {'group_size': 0}):
        with pytest.raises(ValueError, match='for each stage'):
            SpikingResformer(**{**SMALL, **bad})
    with pytest.raises(ValueError, match='group_size must divide'):
        SpikingResformer(**{**SMALL, 'group_size': 7})
    with pytest.raises(ValueError, match='num_heads must divide'):
        SpikingResformer(**{**SMALL, 'num_heads': (3, 2, 3)})
    with pytest.raises(ValueError, match='length must be at least 1'):
        SpikingResformer(**{**SMALL, 'length': 0})
    with pytest.raises(ValueError, match='whole number of at least 1'):
        SpikingResformer(**SMALL, num_steps=0)
