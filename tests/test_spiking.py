"""Spiking neurons: what they compute, step by step, and the gradients written by hand."""

import numpy as np
import pytest
import torch

from backbones.layers import LIF, SURROGATES, Neuron, Repeat, TernaryIF, fire


def inputs(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return 2 * torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('kwargs', [{}, {'tau': 3.0, 'v_threshold': 0.5}, {'surrogate': 'atan', 'alpha': 2.0}], ids=str)
@pytest.mark.parametrize('steps', [1, 2, 5])
def test_gradient_by_hand_is_that_of_the_definition(steps: int, kwargs: dict) -> None:
    neuron = LIF(steps, **kwargs)
    x = inputs(2 * steps, 3, 5, 6).requires_grad_()
    twin = x.detach().clone().requires_grad_()
    y, expected = neuron(x), Neuron.run(neuron, twin)
    assert torch.equal(y, expected) and 0 < y.mean() < 1
    weights = inputs(*y.shape)
    (y * weights).sum().backward()
    (expected * weights).sum().backward()
    assert torch.allclose(x.grad, twin.grad, rtol=1e-12, atol=1e-14)
    last = x.detach().to(memory_format=torch.channels_last)
    assert torch.equal(neuron(last), expected) and neuron(last).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('decay_input', [True, False])
@pytest.mark.parametrize('v_reset', [0.0, 0.25, None], ids=str)
def test_lif_is_its_equations(v_reset: float | None, decay_input: bool) -> None:
    x, tau, threshold = inputs(4, 50), 2.5, 0.75
    neuron = LIF(4, tau, threshold, v_reset, decay_input)
    rest = v_reset or 0.0
    for column, spikes in zip(x.T.tolist(), neuron(x).T.tolist(), strict=True):
        v = rest
        for t, (value, spike) in enumerate(zip(column, spikes, strict=True)):
            h = v + (value - (v - rest)) / tau if decay_input else v - (v - rest) / tau + value
            assert spike == (h >= threshold), t
            v = h - spike * threshold if v_reset is None else v_reset if spike else h


def test_ternary_neuron_fires_both_ways() -> None:
    x = torch.tensor([[0.6, -0.3, 1.0], [0.3, -0.3, 0.2], [0.2, 0.4, 0.9]]).double()
    assert TernaryIF(3)(x).tolist() == [[0, 0, 1], [0, -1, 0], [1, 0, 1]]


def test_threshold_itself_fires() -> None:
    assert LIF(1)(torch.tensor([2.0, 1.999])).tolist() == [1, 0]
    assert fire(torch.zeros(1)).item() == 1


@pytest.mark.parametrize('name', SURROGATES)
def test_surrogates_have_area_one(name: str) -> None:
    u = torch.linspace(-500, 500, 2_000_001, dtype=torch.float64)
    for alpha in (1.0, 2.0, 4.0):
        assert SURROGATES[name](u, alpha).sum().item() * 5e-4 == pytest.approx(1, abs=5e-3)


def test_surrogate_is_the_gradient() -> None:
    u = inputs(100).requires_grad_()
    fire(u, 'triangle', 1.0).sum().backward()
    assert torch.equal(u.grad, (1 - u.detach().abs()).clamp(min=0))


def test_half_precision_is_left() -> None:
    x = inputs(8, 40).bfloat16()
    assert LIF()(x).dtype == torch.bfloat16
    assert torch.equal(LIF()(x).float(), LIF()(x.float()))
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(LIF()(x.float()), LIF()(x).float())


def test_nothing_is_left_between_calls() -> None:
    neuron, x = LIF(2, tau=4.0), inputs(6, 10)
    assert torch.equal(neuron(x), neuron(x))
    assert neuron(0 * x).sum() == 0


def test_repeat() -> None:
    x = inputs(2, 3, 4, 4)
    assert torch.equal(Repeat(3)(x).unflatten(0, (3, 2)), x.expand(3, -1, -1, -1, -1))


def test_mistakes() -> None:
    for bad in (0, -1, 2.5):
        with pytest.raises(ValueError, match='whole number of at least 1'):
            LIF(bad)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match='whole number of at least 1'):
            Repeat(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='sigmoid, atan'):
        LIF(surrogate='relu')
    with pytest.raises(ValueError, match='more than 1 step'):
        LIF(tau=1.0)
    with pytest.raises(ValueError, match='that 4 divides'):
        LIF(4)(torch.zeros(6, 3))


def test_whole_numbers_of_any_kind_are_steps() -> None:
    assert LIF(np.int64(3)).num_steps == 3
    for wrong in (True, 2.0, 0, None):
        with pytest.raises(ValueError, match='must be a whole number of at least 1'):
            LIF(wrong)


def test_a_gradient_of_the_gradient_is_refused() -> None:
    """It would be missing without a word otherwise."""
    x = inputs(4, 3).requires_grad_()
    (grad,) = torch.autograd.grad((LIF(2)(x) ** 2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable'):
        grad.sum().backward()
