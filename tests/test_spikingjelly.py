"""Our neurons beside SpikingJelly's multi-step ones: equal outputs and gradients."""

import pytest
import torch

pytest.importorskip('spikingjelly')

from spikingjelly.activation_based import neuron as theirs
from spikingjelly.activation_based import surrogate
from torch import nn

from backbones.layers import EIF, IF, KLIF, LIF, PLIF, fire

STEPS = 5

# ours -> what SpikingJelly calls it
SURROGATES = {
    'sigmoid': surrogate.Sigmoid,
    'atan': surrogate.ATan,
    'softsign': surrogate.SoftSign,
    'triangle': surrogate.PiecewiseQuadratic,
    'exponential': surrogate.PiecewiseExp,
    'gaussian': surrogate.Erf,
}


def inputs() -> torch.Tensor:
    return 2 * torch.randn(STEPS, 3, 4, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5


def check(ours: nn.Module, jelly: nn.Module) -> None:
    """Outputs to the bit, gradients of inputs and weights to rounding."""
    ours, jelly = ours.double(), jelly.double()
    x = inputs().requires_grad_()
    twin = x.detach().clone().requires_grad_()
    y, expected = ours(x.flatten(0, 1)).unflatten(0, (STEPS, -1)), jelly(twin)
    assert torch.equal(y, expected) and 0.02 < y.mean() < 0.98
    towards = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (y * towards).sum().backward()
    (expected * towards).sum().backward()
    assert torch.allclose(x.grad, twin.grad, rtol=1e-9, atol=1e-13) and x.grad.abs().sum() > 0
    for a, b in zip(ours.parameters(), jelly.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-9)


RESETS = [
    pytest.param({'v_reset': v_reset, 'detach_reset': detach}, id=f'reset={v_reset}-{"detached" if detach else "not"}')
    for v_reset in (0.0, 0.25, None)
    for detach in (True, False)
]


@pytest.mark.parametrize('reset', RESETS)
def test_if(reset: dict) -> None:
    check(IF(STEPS, 0.8, **reset), theirs.IFNode(0.8, surrogate_function=surrogate.Sigmoid(), step_mode='m', **reset))


@pytest.mark.parametrize('reset', RESETS)
@pytest.mark.parametrize('decay_input', [True, False], ids=['decayed', 'whole'])
def test_lif(decay_input: bool, reset: dict) -> None:
    kwargs = {'tau': 2.5, 'decay_input': decay_input, 'v_threshold': 0.8, **reset}
    check(LIF(STEPS, **kwargs), theirs.LIFNode(surrogate_function=surrogate.Sigmoid(), step_mode='m', **kwargs))


@pytest.mark.parametrize('reset', RESETS)
@pytest.mark.parametrize('decay_input', [True, False], ids=['decayed', 'whole'])
def test_plif(decay_input: bool, reset: dict) -> None:
    kwargs = {'decay_input': decay_input, 'v_threshold': 0.8, **reset}
    jelly = theirs.ParametricLIFNode(3.0, surrogate_function=surrogate.Sigmoid(), step_mode='m', **kwargs)
    check(PLIF(STEPS, 3.0, **kwargs), jelly)


def test_klif_and_eif() -> None:
    jelly = theirs.KLIFNode(tau=2.5, detach_reset=True, surrogate_function=surrogate.Sigmoid(), step_mode='m')
    ours = KLIF(STEPS, 2.5)
    for parameter in (ours.k, jelly.k):
        nn.init.constant_(parameter, 1.3)
    check(ours, jelly)
    exponential = theirs.EIFNode(
        tau=2.5,
        v_rest=0.0,
        v_reset=-0.1,
        detach_reset=True,
        surrogate_function=surrogate.Sigmoid(),
        step_mode='m',
    )
    check(EIF(STEPS, 2.5), exponential)


@pytest.mark.parametrize('alpha', [1.0, 2.0, 4.0])
@pytest.mark.parametrize('name', SURROGATES)
def test_surrogates(name: str, alpha: float) -> None:
    u = torch.linspace(-2, 2, 401, dtype=torch.float64).requires_grad_()
    twin = u.detach().clone().requires_grad_()
    y, expected = fire(u, name, alpha), SURROGATES[name](alpha)(twin)
    assert torch.equal(y, expected)
    y.sum().backward()
    expected.sum().backward()
    assert torch.allclose(u.grad, twin.grad, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize('name', SURROGATES)
def test_lif_with_each_surrogate(name: str) -> None:
    jelly = theirs.LIFNode(detach_reset=True, surrogate_function=SURROGATES[name](2.0), step_mode='m')
    check(LIF(STEPS, surrogate=name, alpha=2.0), jelly)
