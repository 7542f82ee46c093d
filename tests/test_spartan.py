"""What is SpaRTAN's alone: its two mixers, what they become in a deployed model, and numbers read off weights."""

import math
from pathlib import Path
from types import SimpleNamespace

import parity
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

import backbones
from backbones.deploy import fuse
from backbones.layers import fold_pairs, pair_product, peak_gate
from backbones.models.spartan import Block, ChannelMixer, Downsample, SpaRTAN, SpatialMixer, numbers_of

RECORD = Path(__file__).parent / 'records' / 'spartan_t.json.gz'
SMALL = {'dims': (8, 16, 24, 32), 'depths': (1, 2, 1, 1), 'num_classes': 9}


def lively(model: nn.Module) -> nn.Module:
    """`model` in float64 and eval mode, with scales and norms that do something."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 or 'scale' in name or name.endswith('gamma'):
            nn.init.normal_(parameter, 0.5, 0.2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    return model.double().eval()


def squeezed(x: torch.Tensor, gate: nn.Module) -> torch.Tensor:
    mean = x.sum((2, 3)) / (x.shape[2] * x.shape[3])
    hidden = (mean @ gate.squeeze.weight.T + gate.squeeze.bias).clamp(min=0)
    return x / (1 + torch.exp(-(hidden @ gate.expand.weight.T + gate.expand.bias)))[:, :, None, None]


def batch_normed(x: torch.Tensor, norm: nn.BatchNorm2d) -> torch.Tensor:
    mean, var, weight, bias = (t[:, None, None] for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    return (x - mean) / (var + 1e-6).sqrt() * weight + bias


def gated(x, w_t, b_t, w_p, b_p, factors, kernels, bias=None) -> torch.Tensor:
    """The channel mixer up to its convolution, position by position and with complex numbers."""
    t = F.gelu(torch.einsum('dc,bchw->bdhw', w_t[..., 0, 0], x) + b_t[:, None, None])
    w = torch.einsum('dc,bchw->bdhw', w_p[..., 0, 0], x) + b_p[:, None, None]
    f = w * t
    for b in range(x.shape[0]):
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                peak = max(range(x.shape[1]), key=lambda c: x[b, c, i, j].item())
                f[b, :, i, j] = f[b, :, i, j] + w[b, peak, i, j] * t[b, peak, i, j]
    if factors is not None:
        numbers = torch.complex(f[:, 0::2], f[:, 1::2]) * torch.complex(*factors.unbind(1))[:, None, None]
        f = torch.stack((numbers.real, numbers.imag), 2).flatten(1, 2)
    return F.conv2d(f, kernels, bias, padding=1, groups=len(kernels) // kernels.shape[1])


def gate_values(channels: int, expand: int, width: int) -> list[torch.Tensor]:
    wide = channels * expand
    shapes = [(wide, channels, 1, 1), (wide,), (wide, channels, 1, 1), (wide,), (wide // 2, 2), (wide, width, 3, 3)]
    return [torch.randn(shape, dtype=torch.double) for shape in shapes]


def held(w_t, b_t, w_p, b_p) -> list[SimpleNamespace]:
    """What the gate takes its projections from."""
    return [SimpleNamespace(weight=w, bias=b) for w, b in ((w_t, b_t), (w_p, b_p))]


@torch.no_grad()
@pytest.mark.parametrize(('expand', 'width'), [(4, 1), (2, 2), (4, 4), (6, 6)])
def test_gate_is_the_equation(expand, width):
    x, values = torch.randn(2, 8, 4, 5, dtype=torch.double), gate_values(8, expand, width)
    w_t, b_t, w_p, b_p, *rest = values
    expected = gated(x, *values)
    assert torch.allclose(peak_gate(x, *held(w_t, b_t, w_p, b_p), *rest), expected, atol=1e-12)
    traced = torch.compile(peak_gate, backend='eager', fullgraph=True)
    assert torch.allclose(traced(x, *held(w_t, b_t, w_p, b_p), *rest), expected, atol=1e-12)


@pytest.mark.parametrize('factors', [True, False])
@pytest.mark.parametrize(('expand', 'width'), [(4, 1), (2, 2), (4, 4)])
@pytest.mark.parametrize('part', [1, 2**19])  # an image at a time, all at once
def test_gradients_of_the_gate(expand, width, factors, part, monkeypatch):
    monkeypatch.setattr('backbones.layers.peaks.PART', part)
    values = gate_values(8, expand, width) + [torch.randn(8 * expand, dtype=torch.double)]
    x = torch.randn(3, 8, 4, 5, dtype=torch.double)
    values[4] = values[4] if factors else None
    leaves = [value.requires_grad_() for value in (x, *values) if value is not None]
    w_t, b_t, w_p, b_p, *rest = values
    found, expected = peak_gate(x, *held(w_t, b_t, w_p, b_p), *rest), gated(x, *values)
    weights = torch.randn_like(expected)
    pair = [torch.autograd.grad((y * weights).sum(), leaves, retain_graph=True) for y in (found, expected)]
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(*pair, strict=True))
    second = [
        torch.autograd.grad(torch.autograd.grad(y.square().sum(), x, create_graph=True)[0].square().sum(), w_t)[0]
        for y in (found, expected)
    ]
    assert torch.allclose(*second, rtol=1e-9)


def test_the_first_of_equal_channels_is_the_strongest():
    x = torch.zeros(1, 8, 1, 1, dtype=torch.double)
    w_t, b_t, w_p, b_p, factors, kernels = gate_values(8, 2, 2)
    first = F.gelu(b_t) * b_p + F.gelu(b_t[0]) * b_p[0]
    expected = F.conv2d(pair_product(first.view(1, -1, 1, 1), factors), kernels, padding=1, groups=8)
    assert torch.allclose(peak_gate(x, *held(w_t, b_t, w_p, b_p), factors, kernels), expected, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize('width', [2, 4])
def test_pairs_go_into_the_convolution(width):
    x, factors = torch.randn(2, 16, 5, 4, dtype=torch.double), torch.randn(8, 2, dtype=torch.double)
    kernels = torch.randn(16, width, 3, 3, dtype=torch.double)
    expected = F.conv2d(pair_product(x, factors), kernels, padding=1, groups=16 // width)
    found = F.conv2d(x, fold_pairs(kernels, factors), padding=1, groups=16 // width)
    assert torch.allclose(found, expected, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize('depthwise', [True, False])
def test_mixers_are_their_equations(depthwise):
    smixer, x = lively(SpatialMixer(16, depthwise)), torch.randn(2, 16, 6, 5, dtype=torch.double)
    p = F.conv2d(x, smixer.proj_in.weight, smixer.proj_in.bias)
    p = p + smixer.gamma * (p - p.mean((2, 3), keepdim=True))
    groups = 8 if depthwise else 1
    near = batch_normed(F.conv2d(p, smixer.near.conv.weight, padding=1, groups=groups), smixer.near.norm)
    far = F.conv2d(p, smixer.far.weight, padding=2, dilation=2, groups=groups)
    far = F.conv2d(far, smixer.farther.conv.weight, padding=2, dilation=2, groups=groups)
    halves = [
        squeezed(F.gelu(near), smixer.near_gate),
        squeezed(F.gelu(batch_normed(far, smixer.farther.norm)), smixer.far_gate),
    ]
    expected = F.conv2d(torch.cat(halves, 1), smixer.proj_out.weight, smixer.proj_out.bias)
    assert torch.allclose(smixer(x), expected, atol=1e-12)

    cmixer = lively(ChannelMixer(16, 2, depthwise))
    y = gated(x, *cmixer.theta.parameters(), *cmixer.proj.parameters(), cmixer.factors, cmixer.conv.weight)
    y = squeezed(F.gelu(batch_normed(y, cmixer.norm)), cmixer.gate)
    expected = F.conv2d(y, cmixer.proj_out.weight, cmixer.proj_out.bias)
    assert torch.allclose(cmixer(x), expected, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize('dense', [True, False])
def test_fused_block_is_exact(dense):
    """Where the scales are as small as they start, an error of the branches would not be seen."""
    block, x = lively(Block(16, 2, dense)), torch.randn(2, 16, 6, 7, dtype=torch.double)
    y, fused = block(x), fuse(nn.Sequential(block).eval())
    assert (y - x).abs().mean() > 0.01
    assert (y - fused(x)).abs().max() <= 1e-13 * y.abs().max()
    kinds = [type(module).__name__ for module in fused.modules()]
    assert not {'BatchNorm2d', 'Affine'} & set(kinds)
    assert (fused[0].cmixer.factors is None) is (not dense)


@torch.no_grad()
def test_gamma_of_minus_one_fuses():
    mixer = lively(SpatialMixer(16, True))
    mixer.gamma.fill_(-1)
    x = torch.randn(2, 16, 4, 5, dtype=torch.double)
    assert torch.allclose(mixer(x), mixer.fuse()(x), atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize('size', [(5, 8), (7, 1), (4, 6)])
def test_odd_maps_are_filled_with_zeros(size):
    layer, x = lively(Downsample(8, 16)), torch.randn(2, 8, *size, dtype=torch.double)
    filled = torch.zeros(2, 8, *(2 * -(-side // 2) for side in size), dtype=torch.double)
    filled[..., : size[0], : size[1]] = x
    expected = F.silu(batch_normed(F.conv2d(filled, layer.proj.conv.weight, stride=2), layer.proj.norm))
    assert torch.allclose(layer(x), expected, atol=1e-12)


@torch.no_grad()
def test_images_by_parts_are_all_at_once(monkeypatch):
    model, x = lively(SpaRTAN(**SMALL)), torch.randn(3, 3, 64, 96, dtype=torch.double)
    calls = []
    monkeypatch.setattr(Block, 'run', lambda self, x, run=Block.run: calls.append(len(x)) or run(self, x))
    whole = model(x)
    assert set(calls) == {3}
    monkeypatch.setattr('backbones.models.spartan.PART', 1)
    assert torch.allclose(model(x), whole, atol=1e-13)
    assert calls[-1] == 1
    model.stages[0].blocks[0].smixer.near.register_forward_hook(lambda module, args, output: calls.append('seen'))
    model(x)
    assert calls.count('seen') == 1  # a module that somebody watches sees the whole batch


def test_numbers_are_read_off_published_weights():
    state = {key: torch.empty(shape) for key, shape, *_ in parity.load(RECORD)['state']}
    numbers = numbers_of({'model': state, 'epoch': 300})
    assert numbers == {'dims': (32, 64, 128, 256), 'depths': (3, 3, 12, 2), 'expand_ratios': (4, 4, 2, 2)}
    SpaRTAN(**numbers).load_state_dict(backbones.convert(timm.create_model('spartan_t'), state))
    half = {key: value for key, value in state.items() if not key.startswith(('layers.21.', 'layers.22.'))}
    for other in (
        half,
        {key: value for key, value in state.items() if not key.startswith('layers.5.')},
        {'a': state['linear.bias']},
    ):
        with pytest.raises(ValueError, match='published checkpoint of SpaRTAN'):
            numbers_of(other)


def test_other_numbers_convert():
    """A sibling with other widths and depths, as SpaRTAN-S is."""
    model, state = SpaRTAN(dims=(8, 24, 16), depths=(2, 1, 3), expand_ratios=(2, 3, 4), num_classes=5), {}
    for key, value in model.state_dict().items():
        state[published(key, (2, 1, 3))] = value
    numbers = numbers_of(state)
    assert numbers == {'dims': (8, 24, 16), 'depths': (2, 1, 3), 'expand_ratios': (2, 3, 4)}
    other = SpaRTAN(**numbers, num_classes=5)
    other.load_state_dict(backbones.convert(other, state))
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in other.state_dict().items())


def published(key: str, depths: tuple[int, ...]) -> str:
    """Our key -> the published one, written apart from the table."""
    words = key.split('.')
    if words[0] == 'stages':
        stage, rest = int(words[1]), words[3:]
        layer = sum(depths[:stage]) + stage - (words[2] == 'downsample')
        layer += 0 if words[2] == 'downsample' else int(rest.pop(0))
        words = ['layers', str(layer), *(rest[1:] if words[2] == 'downsample' else rest)]
    key = '.'.join(words)
    if '.cmixer.' in key:
        key = key.replace('.norm.', '.conv.norm.').replace('.conv.weight', '.conv.conv.weight')
        key = key.replace('factors', 'complex').replace('.gate.', '.attn.')
    for ours, theirs in (
        ('stem.', 'conv.'),
        ('head.', 'linear.'),
        ('norm1', 'norm_1'),
        ('norm2', 'norm_2'),
        ('scale1', 'scale_1'),
        ('scale2', 'scale_2'),
        ('near_gate', 'h_attn'),
        ('far_gate', 'l_attn'),
        ('smixer.near', 'smixer.h_conv'),
        ('smixer.farther', 'smixer.l_conv.1'),
        ('smixer.far.', 'smixer.l_conv.0.conv.'),
    ):
        key = key.replace(ours, theirs)
    return key


def test_published_initialisation_and_rates():
    model = timm.create_model('spartan_t', drop_path_rate=0.1)
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    rates = [getattr(block.drop_path, 'drop_prob', 0.0) for block in blocks]
    assert rates == pytest.approx([0.1 * i / 20 for i in range(20)])
    assert all((block.scale1 == 1e-5).all() and (block.smixer.gamma == 1e-5).all() for block in blocks)
    deviations = {
        model.stem[0].conv.weight: math.sqrt(2 / (9 * 16)),
        blocks[0].cmixer.conv.weight: math.sqrt(2 / 9),
        blocks[8].cmixer.conv.weight: math.sqrt(2 / 18),
        blocks[19].cmixer.theta.weight: math.sqrt(2 / 512),
        blocks[19].cmixer.gate.expand.weight: math.sqrt(2 / 512),
        model.head.weight: 0.02,
        blocks[19].cmixer.factors: 1.0,
    }
    assert all(abs(weight.std().item() / expected - 1) < 0.15 for weight, expected in deviations.items())
    assert all((p == 0).all() for name, p in model.named_parameters() if name.endswith('bias'))
    assert model.no_weight_decay() == {n for n, _ in model.named_parameters() if n.endswith('smixer.gamma')}


def test_wrong_arguments():
    for change, message in (
        ({'depths': (1, 1)}, 'for each stage'),
        ({'depths': (1, 0, 1, 1)}, 'at least 1'),
        ({'dims': (32, 60, 128, 256)}, 'multiples of 8'),
        ({'expand_ratios': (1, 2, 2, 2)}, 'at least 2'),
    ):
        with pytest.raises(ValueError, match=message):
            timm.create_model('spartan_t', **change)


@torch.no_grad()
def test_half_precision_looks_for_the_peak_in_full():
    block = Block(16, 2, True).eval()
    x, seen = torch.randn(1, 16, 8, 8).bfloat16(), []
    block.cmixer.register_forward_pre_hook(lambda module, args: seen.append(args[0].dtype))
    with torch.autocast('cpu', torch.bfloat16):
        assert block(x).dtype == torch.bfloat16
    assert seen == [torch.float32]


def test_onnx_holds_what_it_should(tmp_path: Path):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    from backbones.deploy import export_onnx

    model = SpaRTAN(**SMALL).eval()
    model.pretrained_cfg = timm.create_model('spartan_t').pretrained_cfg
    report = export_onnx(model, tmp_path / 'model.onnx', input_size=(3, 96, 64), batch_size=1, dynamic=False)
    assert report.operators['ArgMax'] == 5
    assert not {'TopK', 'Pad', 'Transpose', 'ScatterND', 'GatherND'} & set(report.operators)
