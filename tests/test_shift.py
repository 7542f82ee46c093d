"""Circular shifts of channel groups and the depthwise convolutions behind them, against their definitions."""

import pytest
import torch
import torch.nn.functional as F

from backbones.layers import shift as module
from backbones.layers import shift_groups, shifted_depthwise
from backbones.layers.depthwise import depthwise_kernel_grad

DISTANCES = (-2, -1, 0, 1, 2)
SHAPES = [(3, 5, 4, 13), (2, 1, 1, 5), (1, 2, 3, 10), (4, 6, 1, 24)]  # B H W C


def shifted(x: torch.Tensor, distances: tuple[int, ...], axis: int) -> torch.Tensor:
    """The definition, value by value."""
    out, side, width = torch.empty_like(x), x.shape[axis], -(-x.shape[-1] // len(distances))
    for channel in range(x.shape[-1]):
        for position in range(side):
            target = (position + distances[channel // width]) % side
            out.select(axis, target)[..., channel] = x.select(axis, position)[..., channel]
    return out


def mixed(x, horizontal, vertical, bias, distances) -> torch.Tensor:
    """The definition: both shifted maps, convolved and added."""
    maps = (shifted(x, distances, axis).permute(0, 3, 1, 2) for axis in (2, 1))
    kernels = (horizontal, vertical)
    y = [F.conv2d(m, k, padding=k.shape[-1] // 2, groups=k.shape[0]) for m, k in zip(maps, kernels, strict=True)]
    return (y[0] + y[1]).permute(0, 2, 3, 1) + bias


def operands(shape: tuple[int, ...], kernel_size: int, dtype=torch.double) -> list[torch.Tensor]:
    """A map, the kernels of both directions and the bias, all of which want a gradient."""
    generator = torch.Generator().manual_seed(0)
    shapes = [shape, *[(shape[-1], 1, kernel_size, kernel_size)] * 2, shape[-1:]]
    return [torch.randn(s, dtype=dtype, generator=generator).requires_grad_() for s in shapes]


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('axis', [1, 2])
@pytest.mark.parametrize('distances', [DISTANCES, (7, -4, 1, 0, 3)])
def test_shift_is_its_definition(shape, axis, distances):
    x = torch.randn(shape)
    expected = shifted(x, distances, axis)
    assert torch.equal(shift_groups(x, distances, axis), expected)
    torch._dynamo.reset()
    compiled = torch.compile(shift_groups, fullgraph=True, backend='eager', dynamic=False)
    assert torch.equal(compiled(x, distances, axis), expected)


@pytest.mark.parametrize('images', [1, 2, 100])
@pytest.mark.parametrize(('shape', 'kernel_size'), list(zip(SHAPES, (7, 3, 5, 1), strict=True)))
def test_operator_is_its_definition(shape, kernel_size, images, monkeypatch):
    monkeypatch.setattr(module, 'PART', images * shape[1] * shape[2] * shape[3] // torch.get_num_threads())
    values = operands(shape, kernel_size)
    expected = mixed(*values, DISTANCES)
    above = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, values, above)
    for form in (shifted_depthwise, module._by_slices):
        y = form(*values, DISTANCES)
        assert torch.allclose(y, expected, atol=1e-12)
        found = torch.autograd.grad(y, values, above)
        assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, gradients, strict=True))
    with torch.no_grad():
        assert torch.allclose(shifted_depthwise(*values, DISTANCES), expected, atol=1e-12)


def test_second_gradient():
    values = operands((2, 3, 2, 10), 3)
    assert torch.autograd.gradgradcheck(lambda *v: shifted_depthwise(*v, DISTANCES), values, fast_mode=True)


def test_operator_takes_any_strides():
    x, *rest = operands((2, 4, 3, 10), 3)
    expected = mixed(x, *rest, DISTANCES)
    turned = x.detach().permute(3, 0, 2, 1).contiguous().permute(1, 3, 2, 0).requires_grad_()
    y = shifted_depthwise(turned, *rest, DISTANCES)
    assert torch.allclose(y, expected, atol=1e-12)
    above = torch.randn(2, 10, 3, 4, dtype=torch.double).permute(0, 3, 2, 1)
    found, wanted = (torch.autograd.grad(out, [v, *rest], above) for out, v in ((y, turned), (expected, x)))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, wanted, strict=True))


def test_frozen_kernels_let_the_gradient_through():
    x, horizontal, vertical, bias = operands((2, 4, 3, 10), 3)
    frozen = [value.detach() for value in (horizontal, vertical, bias)]
    expected = torch.autograd.grad(mixed(x, horizontal, vertical, bias, DISTANCES).cos().sum(), x)[0]
    found = torch.autograd.grad(shifted_depthwise(x, *frozen, DISTANCES).cos().sum(), x)[0]
    assert torch.allclose(found, expected, atol=1e-12)


def test_half_precision():
    values = operands((2, 4, 3, 10), 3, torch.float)
    expected = mixed(*values, DISTANCES)
    half = shifted_depthwise(*(value.bfloat16() for value in values), DISTANCES)
    with torch.autocast('cpu', torch.bfloat16):
        cast = shifted_depthwise(*values, DISTANCES)
    for y in (half, cast):
        assert y.dtype == torch.bfloat16
        assert (y - expected).abs().max() <= 0.05 * expected.abs().max()


@pytest.mark.parametrize('axis', [1, 2])
def test_free_sides_are_traced_without_computed_indices(axis):
    class Shift(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return shift_groups(x, DISTANCES, axis)

    free = {0: torch.export.Dim('b'), 1: torch.export.Dim('h', min=2), 2: torch.export.Dim('w', min=2)}
    program = torch.export.export(Shift(), (torch.randn(2, 6, 5, 10),), dynamic_shapes=(free,), strict=False)
    kinds = {node.target for node in program.graph.nodes if node.op == 'call_function'}
    kept = {'aten.slice.Tensor', 'aten.cat.default', 'aten.chunk.default', 'aten.split.Tensor', 'aten.sym_size.int'}
    assert {str(kind) for kind in kinds if 'aten' in str(kind)} <= kept
    for shape in ((1, 2, 2, 10), (3, 3, 7, 10)):
        x = torch.randn(shape)
        assert torch.equal(program.module()(x), shifted(x, DISTANCES, axis))


@pytest.mark.parametrize('kernel_size', [1, 3, 5, 7, 9])
@pytest.mark.parametrize('size', [(1, 1), (4, 9)])
def test_kernel_gradient(kernel_size, size):
    x = torch.randn(2, 6, *size, dtype=torch.double)
    kernel = torch.randn(6, 1, kernel_size, kernel_size, dtype=torch.double, requires_grad=True)
    y = F.conv2d(x, kernel, padding=kernel_size // 2, groups=6)
    above = torch.randn_like(y)
    expected = torch.autograd.grad(y, kernel, above)[0]
    assert torch.allclose(depthwise_kernel_grad(x, above, kernel_size), expected, atol=1e-12)
