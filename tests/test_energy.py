"""The account of spikes and energy against sums by hand."""

from typing import Any

import pytest
import timm
import torch
from torch import nn

from backbones import base, energy
from backbones.energy import Constants, account, with_relu
from backbones.layers import LIF, NEURONS, ConvNorm, MixedLIF, Repeat


class Two(nn.Module):
    """A convolution of the picture, neurons, a pointwise convolution, neurons, a product of spikes, a linear layer."""

    def __init__(self, steps: int = 2) -> None:
        super().__init__()
        self.steps = steps
        self.stem = ConvNorm(3, 8, 3, 2)
        self.repeat = Repeat(steps)
        self.first, self.second = LIF(steps), LIF(steps)
        self.conv = nn.Conv2d(8, 4, 1)
        self.head = nn.Linear(4, 5)
        nn.init.uniform_(self.stem.norm.bias, 0.5, 2)
        nn.init.uniform_(self.conv.bias, 0.5, 3)

    def set_num_steps(self, steps: int) -> None:
        self.steps = steps
        for module in (self.repeat, self.first, self.second):
            module.set_num_steps(steps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(self.repeat(self.stem(x)))
        x = self.second(self.conv(x)).flatten(2)
        x = x @ (x.transpose(1, 2) @ x)
        return self.head(x.mean(2)).unflatten(0, (self.steps, -1)).mean(0)


def test_account_by_hand() -> None:
    torch.manual_seed(0)
    model, x = Two().eval(), torch.randn(3, 3, 8, 10)
    found = account(model, x)
    products = {f'{p.name} {p.kind}': p for p in found.products}
    assert list(products) == ['stem.conv conv', 'conv conv', ' matmul', 'head linear']
    first = model.first(model.repeat(model.stem(x)))
    second = model.second(model.conv(first))
    rates = [first.mean().item(), second.mean().item()]
    assert all(0.05 < rate < 0.95 for rate in rates)
    assert [rate.rate for rate in found.rates] == pytest.approx(rates)
    assert [(rate.neurons, rate.steps) for rate in found.rates] == [(8 * 20, 2), (4 * 20, 2)]
    stem, conv, matmul, head = products.values()
    assert (stem.dense, stem.macs, stem.acs) == (8 * 20 * 27, 8 * 20 * 27, 0)  # once for both steps
    assert (conv.dense, conv.macs) == (2 * 4 * 20 * 8, 0)
    assert conv.acs == pytest.approx(conv.dense * rates[0])
    assert (matmul.dense, matmul.macs) == (2 * (20 * 20 * 4 + 4 * 20 * 20), 0)
    assert matmul.acs == pytest.approx(matmul.dense * rates[1])
    assert (head.dense, head.macs) == (2 * 4 * 5, 2 * 4 * 5)
    assert found.compute_mj == pytest.approx((4.6 * found.macs + 0.9 * found.acs) * 1e-9)
    assert found.membranes_mj == pytest.approx(3.12 * 32 * 2 * 2 * 12 * 20 * 1e-9)
    assert found.real_mj == pytest.approx(4.6e-9 * (8 * 20 * 27 + 4 * 20 * 8 + 2 * 20 * 20 * 4 + 4 * 5))


def test_account_of_many_pictures_is_the_mean_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, x = Two().eval(), torch.randn(6, 3, 8, 10)
    whole = account(model, x)
    monkeypatch.setattr(energy, 'PART', 4)
    parts = account(model, x)
    assert [parts.acs, parts.macs, parts.rate] == pytest.approx([whole.acs, whole.macs, whole.rate])
    assert [parts.real_mj, parts.quantised_mj] == pytest.approx([whole.real_mj, whole.quantised_mj])
    each = [account(model, image[None]) for image in x]
    assert whole.acs == pytest.approx(sum(one.acs for one in each) / 6)


def test_account_keeps_images_apart() -> None:
    """Also in a network whose neurons take further images for further time steps."""
    mixed, apart = (nn.Sequential(neuron(1), nn.Conv2d(3, 2, 1)).eval() for neuron in (MixedLIF, LIF))
    x = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 1.9  # fires with what was left alone
    assert mixed[0](x).any() and not apart[0](x).any()
    assert account(mixed, x).rate == account(apart, x).rate == 0


def test_account_does_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without hooks a stage takes a few pictures at a time, the more the more threads there are."""
    torch.manual_seed(0)
    options: Any = {'dims': (8, 16, 24), 'num_heads': 2, 'num_classes': 3}
    model, x = timm.create_model('max_former_cifar', **options).eval(), torch.randn(8, 3, 32, 32)
    whole = account(model, x).quantised_mj
    monkeypatch.setattr(base, 'PART', 1)
    assert account(model, x).quantised_mj == pytest.approx(whole, rel=1e-9)


def test_account_of_a_network_inside_another_module() -> None:
    torch.manual_seed(0)
    model, x = Two().eval(), torch.randn(2, 3, 8, 10)
    plain, wrapped = account(model, x), account(nn.Sequential(model).eval(), x)
    assert (wrapped.real_mj, wrapped.quantised_mj) == (plain.real_mj, plain.quantised_mj)


def test_quantised_network_pays_for_ones() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neuron, self.head = LIF(1), nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.neuron(x))

    found = account(One().eval(), torch.tensor([[-1.0, 127.0, 1.0, 3.0]]), constants=Constants(ac=1.0))
    ones = 0 + 7 + 1 + 2  # of 4 * 8 bits behind ReLU
    assert found.quantised_mj == pytest.approx(1e-9 * 4 * 8 * ones / 32)


def test_whole_numbers_are_accumulated_on_request() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neuron, self.head = LIF(1), nn.Linear(3, 2, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.neuron(x) + self.neuron(2 * x))

    x = torch.tensor([[1.0, 2.0, 0.0]])  # sums 1, 2, 0
    assert (account(Sum().eval(), x).macs, account(Sum().eval(), x).acs) == (6, 0)
    found = account(Sum().eval(), x, integers=True)
    assert (found.macs, found.acs) == (0, pytest.approx(6))


def test_relu_twin_has_no_neurons() -> None:
    model = Two()
    twin = with_relu(model)
    assert not [m for m in twin.modules() if isinstance(m, LIF)] and twin.steps == 1
    assert model.steps == 2 and isinstance(model.first, LIF)


@pytest.mark.parametrize('neuron', NEURONS)
def test_account_of_every_neuron(neuron: str) -> None:
    """Those with weights for each step too: the network with real activations has none of them."""
    model = timm.create_model('spikformer_cifar', neuron=neuron, embed_dim=16, depth=1, num_heads=2, num_classes=3)
    found = account(model.eval(), torch.rand(1, 3, 32, 32))
    assert found.real_mj > 0 and found.compute_mj > 0


def test_real_activations_are_of_the_picture_itself() -> None:
    options: Any = {'embed_dim': 16, 'depth': 1, 'num_heads': 2, 'num_classes': 3}
    direct, coded = (
        timm.create_model('spikformer_cifar', encoding=code, **options).eval() for code in ('direct', 'ttfs')
    )
    coded.load_state_dict(direct.state_dict())
    x = torch.rand(2, 3, 32, 32)
    assert account(coded, x).quantised_mj == account(direct, x).quantised_mj


@torch.no_grad()
def test_relu_is_a_neuron_by_name_too() -> None:
    options: Any = {'dims': (8, 16, 24), 'num_heads': 2, 'num_classes': 3}
    model = timm.create_model('max_former_cifar', **options).eval()
    named = timm.create_model('max_former_cifar', neuron='relu', num_steps=1, **options).eval()
    named.load_state_dict(model.state_dict())
    image = torch.randn(2, 3, 32, 32)
    assert torch.equal(named(image), with_relu(model)(image))


def test_mistakes() -> None:
    with pytest.raises(ValueError, match='has none'):
        account(nn.Conv2d(3, 4, 1).eval(), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match='call eval'):
        account(Two(), torch.zeros(1, 3, 4, 4))
