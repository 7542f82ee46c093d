"""Max-Former and MS-QKFormer: against their formulae, step by step, and what only they promise."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parity
import pytest
import spiking_reference as naive
import timm
import torch
import torch.nn.functional as F
from torch import nn

import backbones
from backbones.deploy import fuse
from backbones.deploy.spikes import listening
from backbones.layers import ConvNorm, Neuron, SpikingSelfAttention
from backbones.models.max_former import MaxFormer

Steps = list[torch.Tensor]
NARROW = {
    'dims': (16, 32),
    'depths': (1, 1),
    'mixers': (7, 'attention'),
    'num_heads': 4,
    'img_size': 32,
    'num_classes': 5,
}
KINDS = {
    'strided': {},
    'plain': {'mixers': ('none', 'attention'), 'stem': 'plain', 'num_heads': 8},
    'pooled': {'mixers': ('token_qk', 'attention'), 'num_heads': 8, 'stem': 'pooled', 'downsample': 'pool_first'},
    'pool last': {'mixers': ('token_qk', 'token_qk'), 'num_heads': 8, 'stem': 'plain', 'downsample': 'pool_last'},
    'event': {'mixers': (3, 'attention'), 'stem': 'event', 'mlp_ratio': 1.0, 'clips': True, 'in_chans': 2},
}


@torch.no_grad()
def lively(**kwargs) -> Any:
    """A narrow model in float64 whose neurons fire now and then."""
    torch.manual_seed(0)
    model = naive.lively(MaxFormer(**{**NARROW, 'num_steps': 3, **kwargs}))
    for module in model.modules():
        if isinstance(module, SpikingSelfAttention):
            module.qkv.norm.bias += 0.7  # few positions must add up to the threshold
    return model


def fires(model: nn.Module, x: torch.Tensor) -> list[float]:
    """Firing rate of each neuron."""
    with listening(model) as spikes, torch.no_grad():
        model(x)
    return [float(found.mean()) for found in spikes]


# The formulae, on a list of maps with one for each step


def lif(xs: Steps, threshold: float = 1.0) -> Steps:
    v, spikes = torch.zeros_like(xs[0]), []
    for x in xs:
        h = v + (x - v) / 2
        s = (h >= threshold).to(x.dtype)
        v = torch.where(s > 0, torch.zeros_like(h), h)
        spikes.append(s)
    return spikes


def conv_bn(layer: ConvNorm) -> Callable[[Steps], Steps]:
    conv, norm = layer.conv, layer.norm

    def apply(xs: Steps) -> Steps:
        ys = [F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding, 1, conv.groups) for x in xs]
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        return [(y - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None] for y in ys]

    return apply


def pool(xs: Steps) -> Steps:
    """Largest of 3 x 3 values, -inf around the map."""
    return [F.pad(x, (1, 1, 1, 1), value=-torch.inf).unfold(2, 3, 2).unfold(3, 3, 2).amax((-1, -2)) for x in xs]


def add(xs: Steps, ys: Steps) -> Steps:
    return [x + y for x, y in zip(xs, ys, strict=True)]


def stem(kind: str, m: nn.Module, xs: Steps) -> Steps:
    convs = [conv_bn(layer) for layer in m.modules() if isinstance(layer, ConvNorm)]
    if kind == 'plain':
        first, body, short = convs
        s = lif(first(xs))
        return add(body(s), short(s))
    if kind == 'strided':
        first, body1, body2, short = convs
        s = lif(first(xs))
        return add(body2(lif(body1(s))), short(s))
    if kind == 'pooled':
        first, body1, body2, short = convs
        s = lif(pool(first(xs)))
        return add(body2(lif(pool(body1(s)))), short(s))
    first, early, body1, body2, short = convs
    s = lif(pool(early(lif(first(xs)))))
    return add(pool(body2(lif(pool(body1(s))))), short(s))


def downsample(kind: str, m: nn.Module, xs: Steps) -> Steps:
    first, last, short = (conv_bn(layer) for layer in m.modules() if isinstance(layer, ConvNorm))
    s = lif(xs)
    if kind == 'pool_last':
        return add(pool(last(lif(first(s)))), short(s))
    return add(last(lif(pool(first(s)))), pool(short(s)) if kind == 'max' else short(s))


def attention(m, xs: Steps) -> Steps:
    qkv = lif(conv_bn(m.qkv)(xs))
    ys = []
    for x in qkv:
        q, k, v = (part.unflatten(1, (m.num_heads, -1)).flatten(3) for part in x.chunk(3, 1))  # B h d N
        mixed = torch.einsum('bhcn,bhcm,bhdm->bhdn', q, k, v) * 0.125
        ys.append(mixed.flatten(1, 2).unflatten(2, x.shape[2:]))
    return conv_bn(m.proj)(lif(ys, 0.5))


def token_qk(m, xs: Steps) -> Steps:
    qk = lif(conv_bn(m.qk)(xs))
    q, k = ([x.chunk(2, 1)[i].unflatten(1, (m.num_heads, -1)) for x in qk] for i in (0, 1))
    gates = lif([x.sum(2, keepdim=True) for x in q], 0.5)
    return conv_bn(m.proj)([(gate * x).flatten(1, 2) for gate, x in zip(gates, k, strict=True)])


def block(kind, m, xs: Steps) -> Steps:
    if kind != 'none':
        mix = {'attention': attention, 'token_qk': token_qk}.get(kind, lambda m, s: conv_bn(m)(s))
        xs = add(xs, mix(m.mixer, lif(xs)))
    hidden = conv_bn(m.mlp.fc1)(lif(xs))
    if hidden[0].shape == xs[0].shape:
        hidden = xs = add(hidden, xs)
    return add(xs, conv_bn(m.mlp.fc2)(lif(hidden)))


@torch.no_grad()
@pytest.mark.parametrize('kind', KINDS)
def test_it_is_its_formulae(kind: str) -> None:
    model = lively(**KINDS[kind])
    sides = (32, 48) if model.embeds[0] == 'plain' else (64, 96)
    x = torch.randn(model.input_shape(2, sides), dtype=torch.float64)
    xs = [x[:, t] for t in range(3)] if model.clips else [x] * 3
    xs = stem(model.embeds[0], model.stem, xs)
    maps = []
    for i, (mixer, stage) in enumerate(zip(model.mixers, model.stages, strict=True)):
        if i:
            xs = downsample(model.embeds[1], stage.downsample, xs)
        xs = block(mixer, stage.blocks[0], xs)
        maps.append(sum(xs) / 3)
    logits = sum(F.linear(s, model.head.weight, model.head.bias) for s in lif([x.mean((2, 3)) for x in xs])) / 3
    for found, wanted in zip(model.forward_intermediates(x, intermediates_only=True), maps, strict=True):
        assert torch.allclose(found, wanted, atol=1e-12)
    assert torch.allclose(model(x), logits, atol=1e-12)
    rates = fires(model, x)
    assert all(0.02 < rate < 0.98 for rate in rates), rates


def test_one_step_is_a_network_of_binary_activations() -> None:
    model = lively(num_steps=1)
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    plain = copy.deepcopy(model)
    for module in plain.modules():
        for name, child in module.named_children():
            if isinstance(child, Neuron):
                setattr(module, name, Step(2 * child.v_threshold))
    assert not any(isinstance(module, Neuron) for module in plain.modules())
    assert torch.equal(plain(x), model(x))


class Step(nn.Module):
    """1 from a threshold on."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x >= self.threshold).to(x.dtype)


@torch.no_grad()
def test_a_clip_of_one_picture_is_that_picture() -> None:
    still = lively(mixers=(3, 'attention'), stem='event', clips=False)
    moving = lively(mixers=(3, 'attention'), stem='event', clips=True)
    moving.load_state_dict(still.state_dict())
    x = torch.randn(2, 3, 40, 32, dtype=torch.float64)
    clip = x[:, None].repeat(1, 3, 1, 1, 1)
    assert torch.allclose(moving(clip), still(x), atol=1e-12)
    clip[:, 2] += 1
    assert not torch.allclose(moving(clip), still(x), atol=1e-3)


@torch.no_grad()
def test_steps_can_be_changed() -> None:
    three, five = lively(), lively(num_steps=5)
    five.load_state_dict(three.state_dict())
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    assert not torch.equal(three(x), five(x))
    three.set_num_steps(5)
    assert torch.equal(three(x), five(x))
    assert three.num_steps == three.stem.repeat.num_steps == 5


def test_a_clip_of_other_steps_is_refused() -> None:
    model = lively(**KINDS['event'])
    with pytest.raises(ValueError, match=r'\(B, 3, 2, H, W\).*num_steps=3: set num_steps'):
        model(torch.randn(1, 4, 2, 32, 32).double())
    with pytest.raises(ValueError, match='a batch of clips'):
        model(torch.randn(1, 2, 32, 32).double())


def test_the_first_convolution_sees_an_image_once() -> None:
    """Batch statistics are those of the repeated batch, but for the factor of the unbiased variance."""
    model = lively().train()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    model(x)
    norm, twin = model.stem.conv.norm, nn.BatchNorm2d(8).double()
    twin.load_state_dict({**norm.state_dict(), **lively().stem.conv.norm.state_dict()})
    twin(model.stem.conv.conv(x.repeat(3, 1, 1, 1)))
    assert torch.allclose(norm.running_mean, twin.running_mean, rtol=1e-12)
    before = lively().stem.conv.norm.running_var
    n = 2 * 16 * 16
    factor = (n / (n - 1)) / (3 * n / (3 * n - 1))
    assert torch.allclose(norm.running_var - 0.9 * before, factor * (twin.running_var - 0.9 * before), rtol=1e-9)


def test_the_plain_embedding_fuses_into_one_convolution() -> None:
    fused = fuse(lively(**KINDS['plain']))
    assert sum(isinstance(module, nn.Conv2d) for module in fused.stem.modules()) == 2


def record(name: str) -> dict[str, torch.Tensor]:
    state = parity.state_arrays(parity.load(Path(__file__).parent / 'records' / f'{name}.json.gz'))
    return {key: torch.from_numpy(value) for key, value in state.items()}


@pytest.mark.parametrize('name', ['max_former_cifar10dvs', 'ms_qkformer_cifar'])
def test_older_names_are_known_by_their_place(name: str) -> None:
    """As the authors load their files."""
    model, state = timm.create_model(name), record(name)
    wanted = backbones.convert(model, state)
    older = {f'old.{i}': value for i, value in enumerate(state.values())}
    found = backbones.convert(model, older)
    assert all(torch.equal(found[key], value) for key, value in wanted.items())
    counted = {key: value for i, (key, value) in enumerate(older.items()) if i != 7}
    with pytest.raises(ValueError, match='unknown'):
        backbones.convert(model, counted)
    swapped = dict(zip(older, reversed(older.values()), strict=True))
    with pytest.raises(ValueError, match=r'of another shape|one shape'):
        backbones.convert(model, swapped)


def test_published_initial_weights() -> None:
    torch.manual_seed(0)
    model = MaxFormer(**{**NARROW, 'dims': (64, 128)})
    attends = model.stages[1].blocks[0].mixer
    assert model.stages[1].downsample.body[0].conv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not model.stages[0].blocks[0].mlp.fc1.conv.bias.any()
    for layer in (attends.qkv, attends.proj):  # as PyTorch makes them, three projections like one
        assert layer.conv.weight.abs().max().item() == pytest.approx(128**-0.5, rel=0.01)
    small = MaxFormer(**{**NARROW, 'conv_std': None, 'num_classes': 100})
    assert small.head.weight.std().item() == pytest.approx(0.02, rel=0.05) and not small.head.bias.any()
    assert small.stem.conv.conv.weight.abs().max().item() == pytest.approx(27**-0.5, rel=0.1)


@pytest.mark.parametrize(
    ('kwargs', 'words'),
    [
        ({'depths': (1,)}, 'a width, a depth of at least 1 and a mixer'),
        ({'stem': 'patch'}, 'plain, strided, pooled, event'),
        ({'downsample': 'stride'}, 'max, pool_first, pool_last'),
        ({'mixers': (4, 'attention')}, 'the odd side of a kernel, but got 4'),
        ({'mixers': ('pool', 'attention')}, "but got 'pool'"),
        ({'dims': (12, 32), 'stem': 'event'}, 'a multiple of 8'),
        ({'num_heads': 5}, 'num_heads must divide'),
        ({'num_steps': 0}, 'whole number of at least 1'),
    ],
)
def test_mistakes_are_named(kwargs: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MaxFormer(**{**NARROW, **kwargs})
