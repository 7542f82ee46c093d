"""What only SVT promises: wavelet transform, perceptrons on complex numbers, tables that follow the map, head."""

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from backbones.deploy import fuse
from backbones.layers import (
    ComplexBlend,
    MapAttention,
    NormConvMlp,
    RowBlend,
    conv_mlp_parts,
    inverse_wavelet,
    phases,
    wavelet,
)
from backbones.models.svt import Scatter, TokenScatter, checkpoint_filter_fn

H0 = np.array([-9, 0, 114, -240, -247, 1520, 2844, 1520, -247, -240, 114, 0, -9]) / 5120
H1 = np.array([-81, 0, 1539, -2160, -8208, 27360, 63816, -59280, -343786, 641600], dtype=float) / 1146880
H1 = np.concatenate([H1, H1[-2::-1]])
G0, G1 = H1 * (-1.0) ** (np.arange(19) + 1), H0 * (-1.0) ** np.arange(13)
SIZES = [(56, 56), (24, 30), (8, 10), (7, 13), (9, 2), (1, 1), (1, 5)]
SMALL = {
    'stem_dim': 8,
    'embed_dims': (8, 16, 16, 32),
    'depths': (1, 1, 1, 1),
    'num_heads': (1, 2, 2, 4),
    'num_classes': 5,
}


def small(**kwargs) -> nn.Module:
    """A narrow model in float64 whose norms and scales do something."""
    model = timm.create_model('svt_s', **{**SMALL, **kwargs}).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.1, 0.3)
    return model


def filtered(x: np.ndarray, taps: np.ndarray, axis: int) -> np.ndarray:
    """Correlation along an axis, mirrored at the ends."""
    pad = [(len(taps) // 2,) * 2 if i == axis else (0, 0) for i in range(x.ndim)]
    y = np.pad(x, pad, mode='symmetric')
    return np.apply_along_axis(np.correlate, axis, y, taps, 'valid')


def reference(x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Low map and six complex maps of a map (H, W), by the definition."""
    x = np.pad(x, [(0, side % 2) for side in x.shape], mode='edge')
    low, high = filtered(x, H0, 1), filtered(x, H1, 1)
    plus, minus = [], []
    for y in (filtered(low, H1, 0), filtered(high, H1, 0), filtered(high, H0, 0)):
        a, b, c, d = (y[i::2, j::2] / np.sqrt(2) for i in (0, 1) for j in (0, 1))
        plus.append((a - d) + 1j * (b + c))
        minus.append((a + d) + 1j * (b - c))
    return filtered(low, H0, 0), plus + minus[::-1]


def inverse_reference(low: np.ndarray, maps: list[np.ndarray], height: int, width: int) -> np.ndarray:
    bands = []
    for u, v in zip(maps[:3], maps[:2:-1], strict=True):
        y = np.empty(low.shape)
        y[::2, ::2], y[::2, 1::2] = (u + v).real / np.sqrt(2), (u + v).imag / np.sqrt(2)
        y[1::2, ::2], y[1::2, 1::2] = (u - v).imag / np.sqrt(2), (v - u).real / np.sqrt(2)
        bands.append(y)
    lh, hh, hl = bands
    high = filtered(hh, G1, 0) + filtered(hl, G0, 0)
    low = filtered(lh, G1, 0) + filtered(low, G0, 0)
    return (filtered(high, G1, 1) + filtered(low, G0, 1))[:height, :width]


def natural(low: torch.Tensor) -> torch.Tensor:
    """A low map with its rows and columns in the order of the image."""
    y = torch.empty_like(low)
    rows, columns = (phases(side // 2, low) for side in low.shape[2:])
    y[:, :, rows[:, None], columns] = low
    return y


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_wavelet_is_the_definition(size):
    x = torch.randn(2, 3, *size, dtype=torch.double)
    low, real, imaginary = wavelet(x)
    low, maps = natural(low), torch.complex(real, imaginary).chunk(6, 2)
    for b in range(2):
        for c in range(3):
            expected, six = reference(x[b, c].numpy())
            assert np.abs(low[b, c].numpy() - expected).max() <= 1e-12
            assert all(np.abs(maps[i][b, c].numpy() - six[i]).max() <= 1e-12 for i in range(6))


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_inverse_wavelet_is_the_definition_and_restores(size):
    x = torch.randn(1, 2, *size, dtype=torch.double)
    transformed = wavelet(x)
    assert torch.allclose(inverse_wavelet(*transformed, *size), x, atol=1e-12)
    low, real, imaginary = (torch.randn_like(part) for part in transformed)  # no map has this transform
    found = inverse_wavelet(low, real, imaginary, *size)
    maps = torch.complex(real, imaginary).chunk(6, 2)
    for c in range(2):
        expected = inverse_reference(natural(low)[0, c].numpy(), [m[0, c].numpy() for m in maps], *size)
        assert np.abs(found[0, c].numpy() - expected).max() <= 1e-12


def test_wavelet_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match=r'at least 1 x 1 positions, but got 0 x 4'):
        wavelet(torch.zeros(1, 1, 0, 4))
    parts = wavelet(torch.zeros(1, 1, 8, 6))
    with pytest.raises(ValueError, match=r'low map of 12 x 6 .* 36 x 3, but got 8 x 6, 24 x 3'):
        inverse_wavelet(*parts, 12, 6)


def perceptron(z: torch.Tensor, layer: nn.Module, equation: str) -> torch.Tensor:
    """The complex perceptron, in complex numbers."""
    for weight, bias, last in ((layer.weight1, layer.bias1, False), (layer.weight2, layer.bias2, True)):
        z = torch.einsum(equation, z, torch.complex(*weight)) + torch.complex(*bias)
        z = z if last else torch.complex(z.real.relu(), z.imag.relu())
    return z


@torch.no_grad()
def test_blend_is_a_complex_perceptron_and_is_fused_exactly():
    blend = ComplexBlend(12, 3).double().eval()
    for parameter in blend.parameters():
        nn.init.normal_(parameter)
    z = torch.randn(2, 12, 5, 7, dtype=torch.cdouble)
    by_block = z.movedim(1, -1).unflatten(-1, (3, 4))
    expected = perceptron(by_block, blend, '...bd,bdk->...bk').flatten(-2).movedim(-1, 1)
    fused = fuse(nn.Sequential(blend).eval())[0]
    assert [layer.groups for layer in fused.modules() if isinstance(layer, nn.Conv2d)] == [3, 3]
    for layer in (blend, fused):
        assert (torch.complex(*layer(z.real, z.imag)) - expected).abs().max() <= 1e-12 * expected.abs().max()


@torch.no_grad()
def test_row_blend_has_weights_for_each_row():
    blend = RowBlend((3, 4)).double()
    for parameter in blend.parameters():
        nn.init.normal_(parameter)
    z = torch.randn(2, 5, 6 * 3, 4, dtype=torch.cdouble)
    expected = perceptron(z.unflatten(2, (6, 3)), blend, '...hw,hwk->...hk').flatten(2, 3)
    assert torch.allclose(torch.complex(*blend(z.real, z.imag, 6)), expected, atol=1e-12)


@torch.no_grad()
def test_rows_of_another_width_are_blended_as_if_resized():
    blend = RowBlend((3, 4)).double()
    for parameter in blend.parameters():
        nn.init.normal_(parameter)
    weights = [v.clone() for v in blend.resampled(3, 7)]
    blend.weight2.zero_()
    blend.bias2.zero_()
    assert not torch.equal(weights[2], blend.resampled(3, 7)[2])
    x = torch.randn(1, 3, 7, dtype=torch.double)  # rows, one matrix each
    narrow = F.interpolate(x, 4, mode='linear', align_corners=True)[0]
    expected = torch.einsum('hi,hio->ho', narrow, blend.weight1[0])
    expected = F.interpolate(expected[None], 7, mode='linear', align_corners=True)[0]
    assert torch.allclose(torch.einsum('hi,hio->ho', x[0], weights[0][0]), expected, atol=1e-12)
    tall = blend.resampled(5, 4)[1]
    expected = F.interpolate(blend.bias1[None], (5, 4), mode='bilinear', align_corners=True)[0]
    assert torch.allclose(tall, expected, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize('size', [(8, 6), (5, 9)], ids=str)
def test_scatter_weighs_low_and_blends_high(size):
    mixer = Scatter(8, (8, 6)).double()
    for parameter in mixer.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, *size, 8, dtype=torch.double)
    low, real, imaginary = wavelet(x.permute(0, 3, 1, 2))
    table = F.interpolate(mixer.low[None], tuple(low.shape[2:]), mode='bilinear', align_corners=True)[0]
    rows, columns = (phases(side // 2, low) for side in low.shape[2:])
    low = low * table[:, rows[:, None], columns]
    expected = inverse_wavelet(low, *mixer.blend(real, imaginary), *size).permute(0, 2, 3, 1)
    assert torch.allclose(mixer(x), expected, atol=1e-12)


@torch.no_grad()
def test_token_scatter_interleaves_its_halves():
    mixer = TokenScatter(16, (6, 8)).double()
    for parameter in mixer.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 6, 8, 16, dtype=torch.double)
    y = mixer(x).permute(0, 3, 1, 2)
    first, second = x.permute(0, 3, 1, 2).chunk(2, 1)
    assert torch.allclose(y[:, ::2], mixer.conv(first), atol=1e-12)
    low, real, imaginary = wavelet(second)
    parts = mixer.rows(*mixer.blend(real, imaginary), 6)
    assert torch.allclose(y[:, 1::2], inverse_wavelet(low * mixer.table(6, 8), *parts, 6, 8), atol=1e-12)


def test_attention_is_softmax_of_products():
    layer = MapAttention(12, 3).double()
    x = torch.randn(2, 3, 4, 12, dtype=torch.double)
    q, k, v = (t.view(2, 12, 3, 4) for t in (layer.q(x), *layer.kv(x).chunk(2, -1)))
    attn = torch.einsum('bnhd,bmhd->bhnm', q, k).div(2).softmax(-1)
    expected = layer.proj(torch.einsum('bhnm,bmhd->bnhd', attn, v).reshape(2, 3, 4, 12))
    assert torch.allclose(layer(x), expected, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize('token_label', [True, False])
def test_class_token_is_the_mean_and_positions_vote(token_label):
    model = small(token_label=token_label)
    features = torch.randn(2, 32, 2, 3, dtype=torch.double)
    p = features.flatten(2).mT
    c = p.mean(1, keepdim=True)
    block = model.class_block
    both = block.norm(torch.cat([c, p], 1))
    q, k, v = (
        t.unflatten(2, (4, 8)).transpose(1, 2) for t in (block.attn.q(both[:, :1]), *block.attn.kv(both).chunk(2, 2))
    )
    c = c + block.attn.proj(((q * 8**-0.5) @ k.mT).softmax(-1).matmul(v).transpose(1, 2).flatten(2))
    c = model.norm(c + block.mlp(c))[:, 0]
    expected = model.head.cls(c)
    if token_label:
        expected = expected + model.head.aux(model.norm(p)).max(1)[0] / 2
    assert torch.allclose(model.forward_head(features), expected, atol=1e-10)
    assert torch.allclose(model.forward_head(features, pre_logits=True), c, atol=1e-10)


@torch.no_grad()
def test_two_poolings_make_two_class_tokens():
    model = small(global_pool='catavgmax')
    features = torch.randn(2, 32, 2, 3, dtype=torch.double)
    classes = torch.stack([features.mean((2, 3)), features.amax((2, 3))], 1)
    expected = model.norm(model.class_block(classes, features.flatten(2).mT)).flatten(1)
    assert torch.allclose(model.forward_head(features, pre_logits=True), expected, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize('mixing', ['channel', 'channel_token'])
@pytest.mark.parametrize('img_size', [(64, 64), (70, 45)], ids=str)
def test_tables_made_anew_change_nothing(mixing, img_size):
    """Resampling once is resampling on the fly; a second stage that scatters has maps of half the size."""
    model = small(img_size=96, mixing=mixing, scatter_stages=2)
    images = torch.randn(1, 3, *img_size, dtype=torch.double)
    before = model(images)
    tables = [m.low.shape[1:] for m in model.modules() if isinstance(m, Scatter)]
    model.set_input_size(img_size)
    even = [tuple(2 * -(-side // (2 * stride)) for side in img_size) for stride in (4, 8)]
    assert tables == [(24, 24), (12, 12)]
    assert [tuple(m.low.shape[1:]) for m in model.modules() if isinstance(m, Scatter)] == even
    assert torch.allclose(model(images), before, atol=1e-10)


def test_a_checkpoint_of_another_size_is_resampled():
    source, target = (small(img_size=size, mixing='channel_token') for size in (64, (96, 32)))
    target.load_state_dict(checkpoint_filter_fn(source.state_dict(), target))
    source.set_input_size((96, 32))
    pairs = zip(source.state_dict().items(), target.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for (_, a), b in pairs)


@torch.no_grad()
def test_fused_model_is_exact():
    model = small(mixing='channel_token', scatter_stages=2)
    fused, x = fuse(model), torch.randn(2, 3, 70, 45, dtype=torch.double)
    assert (model(x) - fused(x)).abs().max() <= 1e-12 * model(x).abs().max()
    assert not any(isinstance(m, ComplexBlend) for m in fused.modules())


@torch.no_grad()
def test_half_precision_scatters_in_float32():
    mixer = Scatter(8, (8, 8))
    nn.init.normal_(mixer.low)
    x = torch.randn(2, 16, 12, 8).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        y = mixer(x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, mixer(x.float()).bfloat16())
    assert mixer.half()(x.half()).dtype == torch.half


@torch.no_grad()
def test_large_pictures_in_bfloat16_have_no_nan():
    model = timm.create_model('svt_s', **SMALL, features_only=True).eval()
    with torch.autocast('cpu', torch.bfloat16):
        maps = model(5 * torch.randn(1, 3, 1024, 1024))
    assert all(level.isfinite().all() for level in maps)


def test_published_initialisation_and_rates():
    model = timm.create_model('svt_s', drop_path_rate=0.1)
    mixer = model.stages[0].blocks[0].mixer
    for parameter in mixer.parameters():
        assert abs(parameter.std().item() - 0.02) < 0.005
    assert abs(model.head.aux.weight.std().item() - 0.02) < 0.001
    assert abs(model.stages[1].downsample.proj.weight.std().item() - (2 / (9 * 128)) ** 0.5) < 1e-3
    rates = [getattr(block.drop_path, 'drop_prob', 0.0) for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0.1 * i / 15 for i in range(16)])


def test_wrong_arguments():
    for change, message in (
        ({'depths': (1, 1)}, 'for each stage'),
        ({'depths': (1, 0, 1, 1)}, 'all of them positive'),
        ({'mixing': 'token'}, "'channel' or 'channel_token', but got 'token'"),
        ({'scatter_stages': 5}, r'must lie in \[0, 4\]'),
        ({'embed_dims': (12, 16, 16, 32), 'mixing': 'channel_token'}, 'a multiple of 8'),
        ({'num_heads': (1, 3, 2, 4)}, '3 heads for 16 channels'),
    ):
        with pytest.raises(ValueError, match=message):
            timm.create_model('svt_s', **{**SMALL, **change})


@pytest.mark.parametrize('fused', [False, True])
def test_gradients_are_those_of_the_equation(fused):
    """Eager processors run a function with gradients of its own; half precision, graphs and other devices do not."""
    mixer = Scatter(8, (6, 8)).double().eval()
    for parameter in mixer.parameters():
        nn.init.normal_(parameter)
    mixer = fuse(nn.Sequential(mixer).eval())[0] if fused else mixer
    x = torch.randn(3, 5, 8, 8, dtype=torch.double, requires_grad=True)
    wanted = [x, *mixer.parameters()]
    weight = torch.randn(3, 5, 8, 8, dtype=torch.double)
    y, z = mixer(x), mixer.scatter(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert torch.allclose(y, z, atol=1e-12)
    for twice in (False, True):
        found, expected = (
            torch.autograd.grad((t * weight).sum(), wanted, retain_graph=True, create_graph=twice) for t in (y, z)
        )
        for a, b in zip(found, expected, strict=True):
            assert torch.allclose(a, b, atol=1e-11)
    found, expected = (torch.autograd.grad(g[0].square().sum(), wanted[:4]) for g in (found, expected))
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-9)


def test_channel_mixer_is_its_layers(monkeypatch):
    monkeypatch.setattr(conv_mlp_parts, 'PART', 6 * 5 * 24)  # less than the three images here
    mlp = NormConvMlp(8, 24, 1e-6).double().eval()
    x = torch.randn(3, 6, 5, 8, dtype=torch.double, requires_grad=True)
    wanted, weight = [x, *mlp.parameters()], torch.randn(3, 6, 5, 8, dtype=torch.double)
    y = mlp(x)
    z = mlp.fc2(F.gelu(mlp.spatial(mlp.fc1(mlp.norm(x)))))
    assert type(y.grad_fn).__name__ == '_InPartsBackward'
    with torch.no_grad():
        assert torch.allclose(fuse(nn.Sequential(mlp).eval())(x), z, atol=1e-12)
    assert torch.allclose(y, z, atol=1e-12)
    for twice in (False, True):
        found, expected = (
            torch.autograd.grad((t * weight).sum(), wanted, retain_graph=True, create_graph=twice) for t in (y, z)
        )
        for a, b in zip(found, expected, strict=True):
            assert torch.allclose(a, b, atol=1e-11)
    found, expected = (torch.autograd.grad(g[0].square().sum(), x) for g in (found, expected))
    assert torch.allclose(found[0], expected[0], atol=1e-9)
