"""AFFNet: its filter, its norms, its switches."""

from pathlib import Path

import parity
import pytest
import timm
import torch

import backbones
from backbones.layers import MapNorm
from backbones.models.affnet import AFFNet, ChannelNorm, FrequencyFilter


def filled(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return module.double().eval()


@pytest.mark.parametrize('size', [(6, 8), (5, 7), (40, 9)], ids=str)
@pytest.mark.parametrize('backend', ['fft', 'matmul'])
@pytest.mark.parametrize('act', [torch.nn.SiLU(), torch.nn.ReLU()], ids=repr)
def test_filter_is_its_equation(size, backend, act):
    """In complex numbers, frequency by frequency, group by group."""
    mixer: FrequencyFilter = filled(FrequencyFilter(6, 2, act, backend))  # pyright: ignore[reportAssignmentType]
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    z = torch.fft.rfft2(x, norm='ortho')
    (w1, w2), (b1, b2) = (
        [torch.complex(*pair) for pair in pairs] for pairs in ((mixer.w1, mixer.w2), (mixer.b1, mixer.b2))
    )
    product = torch.empty_like(z)
    for g in range(2):
        part = z[:, 3 * g : 3 * g + 3]
        hidden = torch.einsum('bihw,io->bohw', part, w1[g]) + b1[g][:, None, None]
        hidden = torch.complex(act(hidden.real), act(hidden.imag))
        m = torch.einsum('bihw,io->bohw', hidden, w2[g]) + b2[g][:, None, None]
        m = torch.complex(*(v.sign() * (v.abs() - 0.01).clamp(min=0) for v in (m.real, m.imag)))
        product[:, 3 * g : 3 * g + 3] = m * part
    expected = x + torch.fft.irfft2(product, s=size, norm='ortho')
    torch.testing.assert_close(mixer(x), expected, atol=1e-11, rtol=1e-11)
    torch.testing.assert_close(mixer.fuse()(x), expected, atol=1e-11, rtol=1e-11)


def test_norms_are_their_equations():
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64) * 3 + 1
    for norm, axes in ((filled(MapNorm(6)), (1, 2, 3)), (filled(ChannelNorm(6)), (1,))):
        mean, deviation = x.mean(axes, keepdim=True), x.var(axes, correction=0, keepdim=True)
        deviation = (deviation + 1e-5).sqrt() if len(axes) == 3 else deviation.sqrt() + 1e-5
        expected = (x - mean) / deviation * norm.weight[:, None, None] + norm.bias[:, None, None]
        torch.testing.assert_close(norm(x), expected)


@torch.no_grad()
@pytest.mark.parametrize(('stride', 'reductions'), [(8, [4, 8, 8, 8]), (16, [4, 8, 16, 16])])
def test_output_stride_is_that_of_the_published_segmentors(stride, reductions):
    """The stage that would go beyond it takes each pixel, the one behind that each second: weights stay."""
    torch.manual_seed(0)
    maps, x = {'features_only': True}, torch.randn(1, 3, 64, 96)
    given = timm.create_model('affnet_et', output_stride=stride, **maps).eval()
    expected = timm.create_model('affnet_et', **maps).eval()
    expected.load_state_dict(given.state_dict())
    for stage, dilation in {8: [(2, 1), (3, 2)], 16: [(3, 1)]}[stride]:
        conv = expected.get_submodule(f'model.stages.{stage}.downsample.spatial.conv')
        conv.stride, conv.dilation, conv.padding = (1, 1), (dilation, dilation), (dilation, dilation)
    assert given.feature_info.reduction() == reductions
    for a, b, reduction in zip(given(x), expected(x), reductions, strict=True):
        assert a.shape[-2:] == (64 // reduction, 96 // reduction)
        assert torch.equal(a, b)


def test_an_output_stride_that_is_none():
    with pytest.raises(ValueError, match='output_stride must be one of 8, 16, 32, but got 4'):
        timm.create_model('affnet_et', output_stride=4)


@torch.no_grad()
def test_switches_change_the_sums_and_no_key():
    reference = timm.create_model('affnet_et').eval()
    outputs, x = [], torch.randn(1, 3, 64, 64)
    for activation in ('swish', 'relu'):
        for norm in ('layer_norm_2d', 'layer_norm'):
            model = timm.create_model('affnet_et', activation=activation, attn_norm_layer=norm).eval()
            model.load_state_dict(reference.state_dict(), strict=True)
            outputs.append(model(x))
    assert all((a - b).abs().max() > 1e-3 * a.abs().max() for i, a in enumerate(outputs) for b in outputs[:i])


@torch.no_grad()
def test_backends_give_the_same():
    model, x = timm.create_model('affnet_et').eval(), torch.randn(1, 3, 200, 321)
    outputs = []
    for backend in ('fft', 'matmul'):
        other = timm.create_model('affnet_et', backend=backend).eval()
        other.load_state_dict(model.state_dict())
        outputs.append(other(x))
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'activation': 'gelu'}, "activation must be one of 'swish', 'relu', but got 'gelu'"),
        ({'attn_norm_layer': 'batch'}, 'attn_norm_layer must be one of'),
        ({'backend': 'dft'}, "must be 'auto', 'fft' or 'matmul', but got 'dft'"),
        ({'dims': (48, 66, 104, 144)}, 'a multiple of groups=8, but got 66: give 72'),
        ({'depths': (1, 1)}, 'a width and a depth for each stage'),
    ],
)
def test_mistakes_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        AFFNet(**arguments)


def test_segmentors_hold_the_network_as_their_encoder():
    record = parity.load(Path(__file__).parent / 'records' / 'affnet_et.json.gz')
    official = {key: torch.from_numpy(value) for key, value in parity.state_arrays(record).items()}
    model = timm.create_model('affnet_et', num_classes=0)
    inside = {f'encoder.{key}': value for key, value in official.items() if not key.startswith('classifier.')}
    state = backbones.convert(model, {**inside, 'seg_head.weight': torch.zeros(1)})
    expected = backbones.convert(model, official)
    assert state.keys() == expected.keys() and all(torch.equal(value, state[key]) for key, value in expected.items())
