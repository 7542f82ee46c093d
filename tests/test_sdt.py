"""What is the Spike-driven Transformer's alone: gates in place of products, membranes that are added, its head."""

import pytest
import spiking_reference as naive
import timm
import torch
from torch import nn

from backbones.layers import LIF, ConvNorm, Repeat, SpikingConv
from backbones.models.sdt import SpikeDrivenAttention

SMALL = {'embed_dim': 32, 'depth': 2, 'num_classes': 7}


def small(name: str = 'sdt_8_384', **kwargs) -> nn.Module:
    return naive.lively(timm.create_model(name, **{**SMALL, **kwargs}))


def picture(batch: int = 2, height: int = 39, width: int = 58) -> torch.Tensor:
    return torch.randn(batch, 3, height, width, dtype=torch.double)


def spread(x: torch.Tensor) -> torch.Tensor:
    """The largest of each 3 x 3 of the last two axes, which hold nothing below 0."""
    rows, columns = x.shape[-2:]
    rim = nn.functional.pad(x, (1, 1, 1, 1))
    return torch.stack([rim[..., i : i + rows, j : j + columns] for i in range(3) for j in range(3)]).amax(0)


def spread_in_heads(s: torch.Tensor, heads: int) -> torch.Tensor:
    """The same over tokens and channels of each head, tokens first as the authors' code has them."""
    tokens = s.flatten(2).mT.unflatten(2, (heads, -1)).transpose(1, 2)  # TB h N C/h
    return spread(tokens).transpose(1, 2).flatten(2).mT.reshape(s.shape)


def forward(model: nn.Module, x: torch.Tensor, steps: int, pools: tuple[int, ...], threshold: float, heads: int = 0):
    """Levels and logits by the equations of the paper, the image shown at each step, or a picture of a clip."""
    x = x.transpose(0, 1).flatten(0, 1) if x.ndim == 5 else x.repeat(steps, 1, 1, 1)
    levels = []
    for module, pooled in zip((*model.stem, model.stages[0].downsample), pools[:3], strict=True):
        x = naive.spikes(naive.conv(module.conv, x), steps)
        x = naive.pool(x) if pooled else x
        levels.append(x)
    last = model.stages[1].downsample
    x = naive.conv(last.embed, x)
    x = naive.pool(x) if pools[3] else x
    x = x + naive.conv(last.position, naive.spikes(x, steps))
    for block in model.stages[1].blocks:
        q, k, v = naive.spikes(naive.conv(block.mixer.qkv, naive.spikes(x, steps)), steps).chunk(3, 1)
        both = spread_in_heads(spread(k) * spread(v), heads) if heads else k * v
        gate = naive.spikes(both.flatten(2).sum(2), steps, threshold)[:, :, None, None]
        x = x + naive.conv(block.mixer.proj, spread_in_heads(q * gate, heads) if heads else q * gate)
        x = x + naive.mlp(block.mlp, x, steps)
    levels.append(x)
    rates = naive.over_time(naive.spikes(x.flatten(2).mean(2), steps), steps)
    return [naive.over_time(level, steps) for level in levels[1:]], rates @ model.head.weight.T + model.head.bias


@torch.no_grad()
@pytest.mark.parametrize(
    ('name', 'pools', 'threshold'), [('sdt_8_384', (1, 1, 1, 1), 0.5), ('sdt_cifar', (0, 0, 1, 1), 1.0)]
)
@pytest.mark.parametrize('steps', [1, 3])
def test_is_its_equations(name: str, pools: tuple[int, ...], threshold: float, steps: int) -> None:
    model, x = small(name, num_steps=steps), picture(2, 35, 46)
    naive.check_rates(model, x)
    levels, logits = forward(model, x, steps, pools, threshold)
    for level, expected in zip(model.forward_intermediates(x, intermediates_only=True), levels, strict=True):
        assert torch.allclose(level, expected, atol=1e-12)
    assert logits.std() > 0.01
    assert torch.allclose(model(x), logits, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize(
    ('name', 'pools', 'heads', 'threshold'),
    # gates that fire now and then, though spikes that spread charge them much more
    [('sdt_2_256_cifar10dvs', (0, 0, 1, 1), 8, 30.0), ('sdt_2_256_dvsgesture', (0, 1, 1, 1), 0, 0.5)],
)
def test_clips_of_events(name: str, pools: tuple[int, ...], heads: int, threshold: float) -> None:
    model = small(name, num_steps=3, gate_threshold=threshold)
    x = torch.randn(2, 3, 2, 33, 42, dtype=torch.double)
    naive.check_rates(model, x)
    levels, logits = forward(model, x, 3, pools, threshold, heads)
    for level, expected in zip(model.forward_intermediates(x, intermediates_only=True), levels, strict=True):
        assert torch.allclose(level, expected, atol=1e-12)
    assert logits.std() > 0.01
    assert torch.allclose(model(x), logits, atol=1e-12)


@torch.no_grad()
def test_only_the_first_convolution_sees_other_than_spikes() -> None:
    model, seen = small(), {}
    for name, module in model.named_modules():
        if isinstance(module, ConvNorm):
            module.register_forward_hook(lambda m, inputs, output, name=name: seen.update({name: inputs[0].unique()}))
    model(picture())
    assert len(seen) > 10
    assert [name for name, values in seen.items() if len(values) > 2] == ['stem.0.conv']
    assert all(values.tolist() in ([0, 1], [0]) for name, values in seen.items() if name != 'stem.0.conv')


@torch.no_grad()
def test_gates_of_large_maps_count_in_full_precision() -> None:
    """All 70225 tokens of a map in half precision, which ends at 65504: an infinite charge would give no number."""
    mixer = SpikeDrivenAttention(8, lambda **kwargs: LIF(2, **kwargs)).eval()
    nn.init.ones_(mixer.qkv.conv.weight)
    with torch.autocast('cpu', torch.float16):
        out = mixer(torch.ones(2, 8, 265, 265))
    assert out.isfinite().all()


@torch.no_grad()
def test_steps_may_change() -> None:
    model, x = small(num_steps=2), picture()
    other = small(num_steps=5)
    other.load_state_dict(model.state_dict())
    model.set_num_steps(5)
    assert torch.equal(model(x), other(x))


@pytest.mark.parametrize('pooled', [None, 'spikes', 'membrane'])
def test_a_constant_image_is_convolved_once(pooled) -> None:
    """The output and the gradients are those of the repeated image, and so are all statistics but for n / (n - 1)."""
    steps, x = 4, picture(2, 9, 8)
    once = SpikingConv(3, 5, lambda: LIF(steps), pool=pooled, repeat=Repeat(steps)).double()
    often = SpikingConv(3, 5, lambda: LIF(steps), pool=pooled).double()
    nn.init.constant_(once.conv.norm.weight, 2)
    often.load_state_dict(once.state_dict())
    a, b = once(x), often(x.repeat(steps, 1, 1, 1))
    assert torch.equal(a, b) and 0.02 < a.mean() < 0.98
    weights = torch.randn_like(a)
    (a * weights).sum().backward()
    (b * weights).sum().backward()
    for p, q in zip(once.parameters(), often.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, atol=1e-12)
    assert torch.allclose(once.conv.norm.running_mean, often.conv.norm.running_mean, atol=1e-14)
    n = x.numel() // 3
    first, second = (module.conv.norm.running_var - 0.9 for module in (once, often))
    assert torch.allclose(first * (n - 1) / n, second * (steps * n - 1) / (steps * n), atol=1e-14)


def test_published_initialisation() -> None:
    model = timm.create_model('sdt_2_256_cifar')
    assert abs(model.stages[1].blocks[0].mlp.fc1.conv.weight.std().item() - 0.02) < 0.001
    assert (model.stages[1].blocks[0].mlp.fc1.conv.bias == 0).all()


def test_wrong_arguments() -> None:
    for change in ({'embed_dim': 36}, {'depth': 0}, {'pools': (True, True)}):
        with pytest.raises(ValueError, match='that 8 divides, at least one block and four poolings'):
            timm.create_model('sdt_cifar', **change)
    with pytest.raises(ValueError, match='spread_heads must divide embed_dim 512, or be 0, but is 3'):
        timm.create_model('sdt_cifar', spread_heads=3)
