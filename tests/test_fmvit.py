"""What is FMViT's alone: its attention over averages, its blocks, what they fuse to, its sizes."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

import backbones
from backbones.deploy import fuse
from backbones.layers import MultiGroupConv, average_pool
from backbones.models.fmvit import Attention, FrequencyBlock, FusedAttention, FusionBlock, low_width
from registry import families, has_public_code

# What the paper gives its models (parameters in millions, multiply-adds in billions), as quoted by Heedless Backbones.
PUBLISHED = {
    'fmvit_t': (2.0, 0.3),
    'fmvit_s': (6.4, 0.8),
    'fmvit_m': (12.8, 2.0),
    'fmvit_b': (24.3, 4.2),
    'fmvit_l': (35.3, 7.1),
}


@torch.no_grad()
def lively(model: nn.Module) -> nn.Module:
    """`model` in float64 and eval mode, with norms that do something."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.5)
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.3, 2)
    return model.double().eval()


def normed(x: torch.Tensor, norm) -> torch.Tensor:
    """A normalisation by its running statistics, term by term."""
    mean, var, weight, bias = (t[:, None, None] for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    return (x - mean) / (var + norm.eps).sqrt() * weight + bias


def multigroup(x: torch.Tensor, layer: MultiGroupConv) -> torch.Tensor:
    """Its branches one by one, each group of channels by itself."""
    total = torch.zeros(())
    for branch in layer.branches:
        groups, outputs = branch.conv.groups, []
        for part, weight in zip(x.chunk(groups, 1), branch.conv.weight.chunk(groups), strict=True):
            outputs.append(torch.einsum('oi,bihw->bohw', weight[:, :, 0, 0], part))
        total = total + normed(torch.cat(outputs, 1), branch.norm)
    return total


def averages(x: torch.Tensor, side: int) -> torch.Tensor:
    """Squares cut out one by one."""
    height, width = x.shape[2:]
    rows = [
        torch.stack(
            [x[:, :, i : i + side, j : j + side].mean((2, 3)) for j in range(0, width, side)],
            dim=2,
        )
        for i in range(0, height, side)
    ]
    return torch.stack(rows, dim=2)


@pytest.mark.parametrize('side', [1, 2, 4, 8])
@pytest.mark.parametrize('size', [(8, 16), (7, 9), (1, 3), (5, 2)], ids=str)
def test_averages_over_squares(size, side):
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(average_pool(x, side), averages(x, side))


@torch.no_grad()
@pytest.mark.parametrize('side', [2, 4])
def test_exported_averages_have_whole_squares_alone(side):
    class Pool(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return average_pool(x, side)

    axes = {2: torch.export.Dim('height', min=5), 3: torch.export.Dim('width', min=5)}
    x = torch.randn(1, 3, 8, 11, dtype=torch.float64)
    for shapes, sizes in ((None, [(8, 11)]), ((axes,), [(8, 11), (8, 8), (5, 6), (13, 6)])):
        program = torch.export.export(Pool(), (x,), dynamic_shapes=shapes)
        for size in sizes:
            y = torch.randn(1, 3, *size, dtype=torch.float64)
            torch.testing.assert_close(program.module()(y), averages(y, side))


@torch.no_grad()
def test_branches_of_groups_are_added():
    layer = lively(MultiGroupConv(12, 8, (1, 2, 4)))
    x = torch.randn(2, 12, 3, 5, dtype=torch.float64)
    expected = multigroup(x, layer)
    torch.testing.assert_close(layer(x), expected, atol=1e-13, rtol=0)
    fused = layer.fuse()
    torch.testing.assert_close(fused(x), expected, atol=1e-13, rtol=0)
    assert type(fused) is nn.Conv2d and fused.groups == 1 and fused.kernel_size == (1, 1)


def test_branches_have_statistics_of_their_own_in_training():
    layer = MultiGroupConv(12, 8, (1, 4)).double()
    nn.init.normal_(layer.branches[0].norm.weight)
    x = torch.randn(2, 12, 3, 5, dtype=torch.float64) * 3 + 1
    expected = torch.zeros(())
    for branch in layer.branches:
        y = branch.conv(x)
        y = (y - y.mean((0, 2, 3), keepdim=True)) / (y.var((0, 2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
        expected = expected + y * branch.norm.weight[:, None, None] + branch.norm.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected)
    assert all(branch.norm.num_batches_tracked == 1 for branch in layer.branches)


def test_weights_of_fixed_branches_have_gradients():
    """Frozen statistics: the sum of the weights is one convolution, and still the branches are trained."""
    layer = lively(MultiGroupConv(8, 8, (1, 2)))
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    layer(x).square().sum().backward()
    found = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    multigroup(x, layer).square().sum().backward()
    for grad, p in zip(found, layer.parameters(), strict=True):
        torch.testing.assert_close(grad, p.grad)


@torch.no_grad()
@pytest.mark.parametrize('reduction', [1, 2, 4])
@pytest.mark.parametrize('size', [(4, 8), (5, 3), (1, 1)], ids=str)
def test_attention_asks_averages(size, reduction):
    attention = lively(Attention(64, reduction, (1, 2)))
    x = torch.randn(2, 64, *size, dtype=torch.float64)
    z = normed(x, attention.norm)
    q = multigroup(z, attention.q).flatten(2)  # B C N
    k, v = (multigroup(averages(z, reduction), layer).flatten(2) for layer in (attention.k, attention.v))
    heads = []
    for head in (slice(0, 32), slice(32, 64)):
        scores = torch.einsum('bdn,bdm->bnm', q[:, head], k[:, head]) / 32**0.5
        heads.append(torch.einsum('bnm,bdm->bdn', scores.exp() / scores.exp().sum(2, keepdim=True), v[:, head]))
    expected = multigroup(torch.cat(heads, 1).unflatten(2, size), attention.proj)
    torch.testing.assert_close(attention(x), expected, atol=1e-12, rtol=1e-12)
    fused = attention.fuse()
    torch.testing.assert_close(fused(x), expected, atol=1e-12, rtol=1e-12)
    assert sum(isinstance(m, nn.Conv2d) for m in fused.modules()) == (2 if reduction == 1 else 3)


@torch.no_grad()
def test_blocks_are_their_equations():
    x = torch.randn(2, 64, 6, 5, dtype=torch.float64)

    def mixer(y, layer):
        spatial = F.conv2d(y, layer.spatial.conv.weight, padding=1, groups=y.shape[1])
        y = normed(spatial, layer.spatial.norm).clamp(min=0)
        return normed(F.conv2d(y, layer.point.conv.weight), layer.point.norm)

    def mlp(y, layer):
        return multigroup(multigroup(y, layer.expand).clamp(min=0), layer.project)

    block = lively(FusionBlock(64, 3.0, (1, 2, 4)))
    y = x + mixer(x, block.mixer)
    torch.testing.assert_close(block(x), y + mlp(y, block.mlp))

    block = lively(FrequencyBlock(64, 2, 2.0, (1, 2, 4)))
    low, high = x[:, :32], x[:, 32:]
    low = low + block.attention(low)
    high = high + normed(F.conv2d(low, block.inform.conv.weight), block.inform.norm)
    y = torch.cat([low, high + mixer(high, block.mixer)], 1)
    torch.testing.assert_close(block(x), y + mlp(y, block.mlp))


@torch.no_grad()
def test_fused_model_is_plain_convolutions():
    model = lively(timm.create_model('fmvit_t', num_classes=9))
    fused = fuse(model)
    x = torch.randn(2, 3, 70, 45, dtype=torch.float64)
    y = model(x)
    assert (y - fused(x)).abs().max() <= 1e-12 * y.abs().max()
    assert not any(isinstance(m, MultiGroupConv | Attention | nn.BatchNorm2d) for m in fused.modules())
    leaves = {type(m) for part in (fused.stem, fused.stages) for m in part.modules() if not m._modules}
    assert leaves == {nn.Conv2d, nn.ReLU, nn.Identity}
    assert sum(isinstance(m, FusedAttention) for m in fused.modules()) == 4
    assert all(m.groups in (1, m.in_channels) for m in fused.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=[pytest.mark.full] if rank else []) for rank, name in enumerate(PUBLISHED)]
)
def test_sizes_are_those_of_the_paper(name):
    """Fused: parameters within a fiftieth, MACs, of which two digits are published, within a twentieth."""
    pytest.importorskip('fvcore')
    from backbones.profile import profile

    found = profile(fuse(timm.create_model(name).eval()))
    parameters, macs = PUBLISHED[name]
    assert found.parameters / 1e6 == pytest.approx(parameters, rel=0.02)
    assert found.macs / 1e9 == pytest.approx(macs, rel=0.05)


def test_it_is_no_conversion_of_published_code():
    assert all(not has_public_code(name) for name in families()['fmvit'])
    model = timm.create_model('fmvit_t')
    state = model.state_dict()
    assert backbones.convert(model, {'state_dict': state}).keys() == state.keys()
    for other in (timm.create_model('nextvit_small').state_dict(), {'weight': torch.zeros(1)}):
        with pytest.raises(ValueError, match='no published weights'):
            backbones.convert(model, other)


def test_own_weights_for_other_classes(tmp_path):
    torch.save(timm.create_model('fmvit_t').state_dict(), tmp_path / 'own.pth')
    overlay = {'file': str(tmp_path / 'own.pth')}
    model = timm.create_model('fmvit_t', pretrained=True, pretrained_cfg_overlay=overlay, num_classes=5, in_chans=1)
    assert model(torch.randn(2, 1, 64, 64)).shape == (2, 5)


@torch.no_grad()
def test_scale_at_the_start():
    """Branches add variance one each; nothing else grows with the depth."""
    torch.manual_seed(0)
    model = timm.create_model('fmvit_m').train()
    maps = model.forward_intermediates(torch.randn(4, 3, 96, 96), intermediates_only=True)
    for level, depth in zip(maps, (2, 3, 10, 4), strict=True):
        assert 0.5 < level.std() < (2 + 3 * depth) ** 0.5
    assert 0.8 < model.forward_features(torch.randn(4, 3, 96, 96)).std() < 1.2


def test_widths_of_attention():
    assert [low_width(dim) for dim in (33, 64, 96, 128, 192, 256, 384, 512, 768)] == [
        32, 32, 64, 96, 128, 192, 288, 384, 576,
    ]  # fmt: skip


def test_wrong_arguments():
    for change, message in (
        ({'depths': (1, 1)}, 'for each stage'),
        ({'stem_dims': (8, 8)}, 'three stem_dims'),
        ({'depths': (1, 0, 1, 1)}, 'at least 1'),
        ({'mlp_ratios': (3.0, 0.0)}, 'mlp_ratios must be more than 0'),
        ({'every': (1, 0, 0, 0)}, 'wider than a head of 32 channels, but has 16'),
        ({'groups': (1, 3)}, r'must divide 16 channels.*\(1, 3\)'),
        ({'groups': ()}, 'number of groups'),
    ):
        with pytest.raises(ValueError, match=message):
            timm.create_model('fmvit_t', **change)
