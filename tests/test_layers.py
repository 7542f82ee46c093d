"""Shared layers against their definitions."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from backbones.layers import (
    BatchNorm2d,
    ConvNorm,
    DistilledHead,
    NormLinear,
    RepDepthwise,
    by_images,
    cubic_matrix,
    linear_matrix,
    small_kernel_aggregation,
)
from backbones.layers.ska import _by_slices

FORMS = {'eager': small_kernel_aggregation, 'slices': _by_slices}


def definition(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The formula of small-kernel aggregation, term by term."""
    (_, channels, height, width), (groups, taps) = x.shape, weight.shape[1:3]
    kernel = int(taps**0.5)
    half = kernel // 2
    out = torch.zeros(x.shape, dtype=torch.promote_types(x.dtype, weight.dtype))
    for c in range(channels):
        for y in range(height):
            for z in range(width):
                for k in range(taps):
                    row, column = y + k // kernel - half, z + k % kernel - half
                    if 0 <= row < height and 0 <= column < width:
                        out[:, c, y, z] += weight[:, c % groups, k, y, z] * x[:, c, row, column]
    return out


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize(
    ('shape', 'groups', 'kernel'),
    [((2, 8, 3, 5), 2, 3), ((1, 6, 1, 1), 3, 3), ((2, 4, 2, 7), 4, 5), ((1, 3, 6, 4), 1, 3)],
)
def test_aggregation_is_its_definition(form, shape, groups, kernel):
    x = torch.randn(shape, dtype=torch.double)
    w = torch.randn(shape[0], groups, kernel**2, *shape[2:], dtype=torch.double)
    assert torch.allclose(FORMS[form](x, w), definition(x, w), atol=1e-12)
    assert torch.allclose(FORMS[form](x.to(memory_format=torch.channels_last), w), definition(x, w), atol=1e-12)


@pytest.mark.parametrize('shape', [(2, 4, 3, 5), (1, 4, 1, 2)])
def test_aggregation_gradients(shape):
    x = torch.randn(shape, dtype=torch.double, requires_grad=True)
    w = torch.randn(shape[0], 2, 9, *shape[2:], dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(small_kernel_aggregation, (x, w))
    expected = torch.autograd.grad(_by_slices(x, w).cos().sum(), (x, w))
    found = torch.autograd.grad(small_kernel_aggregation(x, w).cos().sum(), (x, w))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, expected, strict=True))


def test_aggregation_compiles_to_one_graph_with_its_gradients():
    compiled = torch.compile(small_kernel_aggregation, fullgraph=True, backend='aot_eager')
    for size in ((5, 4), (3, 7)):
        x = torch.randn(2, 8, *size, dtype=torch.double, requires_grad=True)
        w = torch.randn(2, 4, 9, *size, dtype=torch.double, requires_grad=True)
        results = [(f(x, w), *torch.autograd.grad(f(x, w).cos().sum(), (x, w))) for f in (compiled, definition)]
        assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_aggregation_sums_half_precision_in_single(form, dtype):
    """256 and nine times a half: a half-precision sum would lose the small terms."""
    x = torch.full((1, 1, 3, 3), 0.5, dtype=dtype)
    x[..., 0, 0] = 256
    w = torch.ones(1, 1, 9, 3, 3, dtype=dtype)
    assert FORMS[form](x, w)[0, 0, 1, 1] == torch.tensor(260.0).to(dtype)
    assert FORMS[form](x, w).dtype == dtype
    assert FORMS[form](x, w.float()).dtype == torch.float32


def test_aggregation_of_many_samples_equals_one_by_one():
    """Samples are taken in chunks; no chunk may leak into another."""
    x, w = torch.randn(5, 256, 11, 7), torch.randn(5, 32, 9, 11, 7)
    each = torch.cat([small_kernel_aggregation(x[i : i + 1], w[i : i + 1]) for i in range(5)])
    assert torch.equal(small_kernel_aggregation(x, w), each)


def test_aggregation_shapes_are_checked():
    x = torch.randn(1, 6, 4, 4)
    for w in (
        torch.randn(1, 4, 9, 4, 4),
        torch.randn(1, 2, 4, 4, 4),
        torch.randn(1, 2, 9, 4, 5),
        torch.randn(1, 9, 4, 4),
    ):
        with pytest.raises(ValueError, match='multiple of G'):
            small_kernel_aggregation(x, w)


@pytest.mark.parametrize(('to', 'source'), [(14, 4), (20, 196), (1, 4), (7, 1), (5, 5), (300, 7)])
def test_resampling_matrices_are_torchs_resizes(to, source):
    x = torch.randn(1, 1, source, source, dtype=torch.double)
    for matrix, options in (
        (linear_matrix, {'mode': 'bilinear', 'align_corners': True}),
        (cubic_matrix, {'mode': 'bicubic'}),
    ):
        a = matrix(to, source, x)
        assert torch.allclose(a @ x[0, 0] @ a.T, F.interpolate(x, (to, to), **options)[0, 0], atol=1e-11)
        if to == source:
            assert torch.equal(a, torch.eye(to, dtype=torch.double))
        half = matrix(to, source, x.bfloat16())
        assert half.dtype == torch.bfloat16
        assert torch.equal(half, matrix(to, source, x.float()).bfloat16())


def _randomise(module: nn.Module) -> nn.Module:
    """Statistics and affines that no fold may get away with ignoring; evaluation mode."""
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5) if 'var' in name else nn.init.normal_(tensor)
    return module.eval()


LEAVES = {
    'conv': lambda: (ConvNorm(4, 6, 3, stride=2), (2, 4, 9, 7)),
    'conv_grouped_dilated': lambda: (ConvNorm(4, 8, 5, groups=4, dilation=2), (2, 4, 11, 12)),
    'conv_padding': lambda: (ConvNorm(3, 5, 4, stride=4, padding=0), (1, 3, 8, 8)),
    'norm': lambda: (BatchNorm2d(5), (2, 5, 3, 3)),
    'norm_plain': lambda: (BatchNorm2d(5, affine=False), (2, 5, 3, 3)),
    'rep3': lambda: (RepDepthwise(6), (2, 6, 5, 5)),
    'rep7': lambda: (RepDepthwise(6, 7), (2, 6, 9, 8)),
    'linear': lambda: (NormLinear(6, 3), (4, 6)),
    'distilled': lambda: (DistilledHead(6, 3), (4, 6)),
}


@torch.no_grad()
@pytest.mark.parametrize('leaf', LEAVES)
def test_fuse_of_a_leaf(leaf):
    module, shape = LEAVES[leaf]()
    with pytest.raises(ValueError, match='evaluation mode'):
        module.train().fuse()
    module = _randomise(module.double())
    before = copy.deepcopy(module.state_dict())
    x = torch.randn(shape, dtype=torch.double)
    fused = module.fuse()
    expected = module(x)
    assert (fused(x) - expected).abs().max() <= 1e-12 * expected.abs().max()
    assert not any('norm' in n or 'Norm' in type(m).__name__ for n, m in fused.named_modules())
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert not fused.training
    assert {p.dtype for p in module.half().fuse().parameters()} == {torch.float16}


def test_fuse_refuses_batch_dependent_norms():
    norm = BatchNorm2d(3, track_running_stats=False).eval()
    with pytest.raises(ValueError, match='running statistics'):
        norm.fuse()


def test_distilled_head_gives_both_outputs_on_demand():
    head = DistilledHead(4, 2).train()
    x = torch.randn(3, 4)
    assert head(x).shape == (3, 2)
    head.distilled_training = True
    assert [y.shape for y in head(x)] == [(3, 2)] * 2
    assert head.eval()(x).shape == (3, 2)


def test_images_in_parts_need_evaluation_without_gradients():
    block, seen = nn.BatchNorm2d(4), []
    x = torch.randn(4, 4, 2, 2)
    with torch.no_grad():
        by_images(block, lambda x: seen.append(len(x)) or x, x, 1)
        by_images(block.eval(), lambda x: seen.append(len(x)) or x, x, 1)
    by_images(block, lambda x: seen.append(len(x)) or x, x, 1)
    assert seen == [4, 1, 1, 1, 1, 4]


@torch.no_grad()
def test_images_in_parts_keep_their_steps_and_their_order_of_memory():
    block = nn.Conv2d(3, 5, 3).eval()
    x = torch.randn(6, 3, 8, 8)

    def run(x):
        seen.append(x.clone())
        return block(x)

    for order in (torch.contiguous_format, torch.channels_last):
        seen: list[torch.Tensor] = []
        y = by_images(block, run, x.to(memory_format=order), 1, images=2)
        assert torch.allclose(y, block(x), atol=1e-6) and y.is_contiguous(memory_format=order)
        assert [len(part) for part in seen] == [3, 3]
        assert torch.equal(seen[1], x[1::2])  # all steps of the second image
    shown = by_images(block, lambda x: block(x).repeat(2, 1, 1, 1), x, 1)  # steps that begin here
    assert torch.allclose(shown, block(x).repeat(2, 1, 1, 1), atol=1e-6)
    assert by_images(block, lambda x: (x, 1), x, 1)[0] is x
