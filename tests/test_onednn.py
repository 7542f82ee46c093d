"""Linear maps by oneDNN against torch's own, values and gradients, in the types that there are."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from backbones.layers.onednn import linear, product, weight_gradient

LIMITS = {torch.float32: 1e-5, torch.float64: 1e-13}


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    if not b.numel():
        return a.shape == b.shape
    return a.shape == b.shape and bool((a - b).abs().max() <= LIMITS[a.dtype] * b.abs().max())


@torch.no_grad()
@pytest.mark.parametrize('dtype', LIMITS)
@pytest.mark.parametrize(('rows', 'inner', 'outer'), [(1, 40, 24), (17, 24, 40), (5, 33, 7), (0, 40, 24)])
def test_product_and_its_orientations(rows, inner, outer, dtype):
    x, weight, bias = (torch.randn(shape, dtype=dtype) for shape in ((rows, inner), (outer, inner), (outer,)))
    grad = torch.randn(rows, outer, dtype=dtype)
    assert close(product(x, weight, bias), x @ weight.T + bias)
    assert close(product(x, weight, bias, gelu=True), F.gelu(x @ weight.T + bias))
    assert close(product(grad, weight.t()), grad @ weight)
    assert close(weight_gradient(grad, x), grad.T @ x)


@pytest.mark.parametrize('dtype', LIMITS)
def test_gradients(dtype):
    layer = nn.Linear(9, 6, dtype=dtype)
    x = torch.randn(4, 9, dtype=dtype, requires_grad=True)
    values = (x, layer.weight, layer.bias)
    grads = []
    for y in (linear(*values), layer(x)):
        first = torch.autograd.grad(y.cos().sum(), values, create_graph=True)
        plain = torch.autograd.grad(y.cos().sum(), values, retain_graph=True)
        loss = torch.stack([g.sin().sum() for g in first]).sum()
        grads.append((y, *first, *plain, *torch.autograd.grad(loss, values)))
    assert all(close(a, b) for a, b in zip(*grads, strict=True))


def test_another_form_where_it_must(monkeypatch):
    """Under autocast, while torch compiles, and on a processor without oneDNN."""
    layer, x = nn.Linear(9, 6), torch.randn(4, 9)
    with torch.autocast('cpu', torch.bfloat16):
        assert linear(x, layer.weight, layer.bias).dtype == torch.bfloat16
    compiled = torch.compile(linear, fullgraph=True, backend='eager')
    assert close(compiled(x, layer.weight, layer.bias), layer(x))
    monkeypatch.setattr('backbones.layers.onednn._has_onednn', lambda: False)
    assert torch.equal(linear(x, layer.weight, layer.bias), layer(x))
