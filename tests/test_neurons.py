"""The neurons that STEP compares: outputs and gradients of their equations, written out element by element."""

import copy
import math

import pytest
import timm
import torch
from torch import nn

from backbones.layers import CLIF, EIF, GLIF, IF, ILIF, LIF, NEURONS, PSN, Neuron, grouped, neuron_maker

STEPS, COLUMNS = 4, 40


class Step(torch.autograd.Function):
    """1 where u >= 0 (u > 0 if strict); gradient `bump(u)`."""

    @staticmethod
    def forward(ctx, u, bump, strict=False):
        ctx.save_for_backward(u)
        ctx.bump = bump
        return (u > 0 if strict else u >= 0).double()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.bump(ctx.saved_tensors[0]), None, None


def sigmoid_bump(alpha):
    return lambda u: alpha * torch.sigmoid(alpha * u) * torch.sigmoid(-alpha * u)


def atan_bump(u):
    return 1 / (1 + (math.pi * u) ** 2)


def box(u):
    return (u.abs() <= 0.5).double()


def hard(charge, rest=0.0, bump=None, strict=False):
    """Fires, and is reset to `rest` without a gradient through the spike that resets."""
    start = torch.tensor(rest, dtype=torch.float64)

    def run(inputs, threshold, weights):
        v, spikes = start, []
        for x in inputs:
            h = charge(v, x, weights)
            s = Step.apply(h - threshold, bump or sigmoid_bump(4.0), strict)
            v = start if s else h
            spikes.append(s)
        return spikes

    return run


def clif(inputs, threshold, weights):
    v = m = torch.tensor(0.0).double()
    spikes = []
    for x in inputs:
        v = v / 2 + x
        m = m * torch.sigmoid(v / 2)
        s = Step.apply(v - 1, box)  # whatever the threshold
        m = m + s
        v = v - s - s * torch.sigmoid(m)
        spikes.append(s)
    return spikes


def glif(inputs, threshold, weights):
    al, be, ga = (float(weights[name] > 0) for name in ('leak_gate', 'input_gate', 'reset_gate'))
    u = o = torch.tensor(0.0).double()
    spikes = []
    for t, x in enumerate(inputs):
        tau, vth, leak, conduct, lower = (
            1 / (1 + torch.exp(-weights[name][t])) for name in ('tau', 'threshold', 'leak', 'conduct', 'decrement')
        )
        u = (
            (1 - al * (1 - tau)) * u * (1 - ga * o)
            - (1 - al) * leak
            + x * (1 - be * (1 - conduct))
            - (1 - ga) * lower * o
        )
        o = Step.apply(u - vth, box, True)
        spikes.append(o)
    return spikes


def psn(inputs, threshold, weights):
    w, b = weights['weight'], weights['bias']
    return [
        Step.apply(sum(w[t, i] * x for i, x in enumerate(inputs)) + b[t], sigmoid_bump(2.0)) for t in range(len(inputs))
    ]


def integer(divisor):
    def run(inputs, threshold, weights):
        v, spikes = torch.tensor(0.0).double(), []
        for x in inputs:
            h = v + (x - v) / 2
            clipped = (h / threshold).clamp(0, 2) / divisor
            s = clipped + (clipped.round() - clipped).detach()
            v = h - clipped.detach().round() * threshold
            spikes.append(s)
        return spikes

    return run


REFERENCES = {
    'lif': hard(lambda v, x, w: v + (x - v) / 2),
    'if': hard(lambda v, x, w: v + x, bump=atan_bump, strict=True),
    'plif': hard(lambda v, x, w: v + (x - v) / (1 + torch.exp(-w['w']))),
    'klif': hard(lambda v, x, w: (w['k'] * (v + (x - v) / 2)).clamp(min=0)),
    'eif': hard(lambda v, x, w: v + (x - v + math.e**-0.8 * torch.exp(v)) / 2, rest=-0.1),
    'clif': clif,
    'glif': glif,
    'psn': psn,
    'ilif': integer(1),
    'nilif': integer(2),
}


def inputs() -> torch.Tensor:
    return 1.5 * torch.randn(STEPS, COLUMNS, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5


def trained(neuron: Neuron) -> Neuron:
    """Other weights than those it starts with; GLIF's gates as they are."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in filter(lambda p: p.requires_grad, neuron.parameters()):
            parameter.add_(torch.empty_like(parameter).uniform_(-0.6, 0.6, generator=generator))
    return neuron.double()


def by_element(name: str, x: torch.Tensor, threshold: float, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    columns = [torch.stack(REFERENCES[name](column.unbind(), threshold, weights)) for column in x.T]
    return torch.stack(columns, 1)


def check(name: str, neuron: Neuron, threshold: float) -> None:
    x = inputs().requires_grad_()
    twin = x.detach().clone().requires_grad_()
    weights = {key: value.detach().clone() for key, value in neuron.state_dict().items()}
    learned = {key: p for key, p in neuron.named_parameters() if p.requires_grad}
    for key in learned:
        weights[key].requires_grad_()
    y, expected = neuron(x), by_element(name, twin, threshold, weights)
    assert torch.equal(y, expected) and 0.02 < (y > 0).double().mean() < 0.98
    towards = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (y * towards).sum().backward()
    (expected * towards).sum().backward()
    assert torch.allclose(x.grad, twin.grad, rtol=1e-9, atol=1e-12) and x.grad.abs().sum() > 0
    for key, parameter in learned.items():
        grad = weights[key].grad
        assert torch.allclose(parameter.grad, torch.zeros_like(parameter) if grad is None else grad, atol=1e-12), key


@pytest.mark.parametrize('threshold', [1.0, 0.5])
@pytest.mark.parametrize('name', NEURONS)
def test_neuron_is_its_equations(name: str, threshold: float) -> None:
    check(name, trained(neuron_maker(name, STEPS)(v_threshold=threshold)), threshold)


@pytest.mark.parametrize('gates', [(0.4, 0.4, 0.4), (0.4, 0.6, 0.6), (0.6, 0.4, 0.6), (0.6, 0.6, 0.4)], ids=str)
def test_gates_of_glif(gates: tuple[float, float, float]) -> None:
    neuron = trained(GLIF(STEPS, gates))
    opened = [getattr(neuron, f'{name}_gate').item() > 0 for name in ('leak', 'input', 'reset')]
    assert opened == [gate < 0.5 for gate in gates]
    check('glif', neuron, 1.0)


def test_first_values_are_the_published_ones() -> None:
    made = {name: neuron_maker(name, 4)() for name in NEURONS}
    assert made['plif'].w.sigmoid().item() == 0.5 and made['klif'].k.item() == 1
    glif = {name: p.sigmoid().tolist() for name, p in made['glif'].named_parameters() if p.ndim}
    first = {'tau': 0.25, 'threshold': 0.5, 'leak': 0.0625, 'conduct': 0.5, 'decrement': 0.5}
    assert glif == {name: pytest.approx([value] * 4) for name, value in first.items()}
    assert [round(made['glif'].get_parameter(f'{n}_gate').item(), 3) for n in ('leak', 'input')] == [-0.201, -0.619]
    assert made['psn'].bias.tolist() == [-1] * 4


def test_thresholds_that_are_met() -> None:
    """Equal to the threshold: LIF fires, BrainCog's IF does not; halves are rounded to the even number."""
    one = torch.tensor([1.0])
    assert IF(1)(one).item() == 1 and neuron_maker('if', 1)()(one).item() == 0
    x = torch.tensor([1.0, 3.0, 5.0, 9.0]).double()  # charges 0.5, 1.5, 2.5, 4.5
    assert neuron_maker('ilif', 1)()(x).tolist() == [0, 2, 2, 2]
    assert neuron_maker('nilif', 1)()(torch.tensor([2.0, 2.01, 9.0])).tolist() == [0, 1, 1]


@pytest.mark.parametrize('name', NEURONS)
def test_layouts_and_precisions(name: str) -> None:
    neuron = neuron_maker(name, STEPS)()
    x = inputs().float().reshape(STEPS * 2, 5, 2, 2)
    y = neuron(x)
    assert torch.equal(neuron(x.to(memory_format=torch.channels_last)), y)
    half = copy.deepcopy(neuron).bfloat16()
    assert torch.equal(half(x.bfloat16()).float(), copy.deepcopy(half).float()(x.bfloat16().float()))
    program = torch.export.export(neuron, (x,), strict=False)
    assert torch.equal(program.module()(x), y) and y.mean() > 0


@pytest.mark.parametrize('neuron', [PSN(4), GLIF(4)], ids=['psn', 'glif'])
def test_weights_of_each_step_tie_the_neuron_to_their_number(neuron: Neuron) -> None:
    neuron.set_num_steps(4)
    with pytest.raises(ValueError, match='weights for each of its 4 time steps and cannot run 2'):
        neuron.set_num_steps(2)
    with pytest.raises(ValueError, match='whole number of at least 1'):
        type(neuron)(0)


def test_groups_have_neurons_of_their_own_where_these_learn() -> None:
    assert isinstance(grouped(neuron_maker('clif', STEPS), 3), CLIF)
    three = grouped(neuron_maker('plif', STEPS), 3)
    with torch.no_grad():
        for neuron, w in zip(three, (-1.0, 0.0, 1.0), strict=True):
            neuron.w.fill_(w)
    x = 2 * torch.randn(STEPS * 2, 6, 3, 2, generator=torch.Generator().manual_seed(0))
    expected = [neuron(part) for neuron, part in zip(three, (x[:, :2], x[:, 2:4], x[:, 4:]), strict=True)]
    assert torch.equal(three(x), torch.cat(expected, 1))
    assert not torch.equal(three(x), three[0](x))


def test_names() -> None:
    with pytest.raises(ValueError, match='must be one of lif, if, plif'):
        neuron_maker('izhikevich', 4)
    with pytest.raises(ValueError, match='whole number of at least 1'):
        neuron_maker('psn', 0)
    assert all(isinstance(neuron_maker(name, 2, device='meta')(), nn.Module) for name in NEURONS)


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda: CLIF(4, tau=1.0), 'tau must be more than 1'),
        (lambda: EIF(4, delta=0.0), 'delta, the sharpness'),
        (lambda: ILIF(4, levels=0), 'levels, the spikes of a step'),
        (lambda: LIF(4, alpha=0.0), 'alpha, the sharpness'),
        (lambda: GLIF(4, tau=2.0), 'between 0 and 1'),
        (lambda: GLIF(4, gates=(0.6, 0.8)), 'three gates'),  # pyright: ignore[reportArgumentType]
    ],
)
def test_numbers_that_cannot_be(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_a_model_that_cannot_run_other_steps_stays_as_it_is() -> None:
    model = timm.create_model('spikformer_cifar', neuron='psn', embed_dim=16, depth=1, num_heads=2).eval()
    x = torch.randn(1, 3, 32, 32)
    before = model(x)
    with pytest.raises(ValueError, match='make the model with num_steps=2'):
        model.set_num_steps(2)
    assert model.num_steps == 4 and torch.equal(model(x), before)
