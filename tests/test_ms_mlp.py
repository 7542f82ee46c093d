"""What is MS-MLP's alone: its mixing, its head behind the pooling, its fused blocks, its plain ONNX graph."""

from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from backbones.deploy import fuse
from backbones.models.ms_mlp import Block, MixShift, PatchEmbed

DISTANCES, KERNELS = (-2, -1, 0, 1, 2), (1, 1, 3, 5, 7)


def lively(model: nn.Module) -> nn.Module:
    """`model` in float64 and eval mode, with scales and norms that do something."""
    for name, parameter in model.named_parameters():
        if name.endswith('gamma') or '.norm.' in name or name.startswith('norm.'):
            nn.init.normal_(parameter, 0.5, 0.2)
    return model.double().eval()


@torch.no_grad()
@pytest.mark.parametrize('size', [(6, 9), (1, 2)])
def test_mixing_shifts_before_it_convolves(size):
    mixer = MixShift(13, DISTANCES, KERNELS).double()
    x = torch.randn(2, 13, *size, dtype=torch.double)
    expected = []
    for g, (group, d) in enumerate(zip(x.split((3, 3, 3, 3, 1), dim=1), DISTANCES, strict=True)):
        across, down = (torch.roll(group, d, axis) for axis in (3, 2))
        expected.append(mixer.horizontal[g](across) + mixer.vertical[g](down))
    found = mixer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert torch.allclose(found, torch.cat(expected, 1), atol=1e-12)


def test_gradients_reach_the_kernels_of_each_group():
    mixer = MixShift(20, DISTANCES, KERNELS).double()
    x = torch.randn(2, 20, 5, 8, dtype=torch.double)
    mixer(x.permute(0, 2, 3, 1)).square().sum().backward()
    directions = (mixer.horizontal, mixer.vertical)
    twin = [[conv.weight.detach().clone().requires_grad_() for conv in convs] for convs in directions]
    y = []
    for g, (group, d) in enumerate(zip(x.chunk(5, dim=1), DISTANCES, strict=True)):
        pair = [
            F.conv2d(torch.roll(group, d, axis), weights[g], convs[g].bias, padding=KERNELS[g] // 2, groups=4)
            for axis, weights, convs in zip((3, 2), twin, directions, strict=True)
        ]
        y.append(pair[0] + pair[1])
    torch.cat(y, 1).square().sum().backward()
    for convs, weights in zip(directions, twin, strict=True):
        for conv, weight in zip(convs, weights, strict=True):
            assert torch.allclose(conv.weight.grad, weight.grad, atol=1e-10)


@torch.no_grad()
def test_fused_block_is_exact():
    """Where the scale is as small as it starts, an error of the branch would not be seen."""
    block = lively(Block(20, MixShift(20, DISTANCES, KERNELS), 4.0, 1.0))
    x = torch.randn(2, 7, 6, 20, dtype=torch.double)
    y, z = block(x), fuse(nn.Sequential(block).eval())(x)
    assert (y - x).abs().mean() > 0.01
    assert (y - z).abs().max() <= 1e-13 * y.abs().max()


@torch.no_grad()
def test_fused_model_is_exact():
    model = lively(timm.create_model('ms_mlp_tiny', depths=(1, 1, 1, 1), num_classes=9))
    x = torch.randn(2, 3, 70, 45, dtype=torch.double)
    y, fused = model(x), fuse(model)
    assert (y - fused(x)).abs().max() <= 1e-12 * y.abs().max()
    assert sum(isinstance(m, nn.Conv2d) for m in fused.modules()) == 4  # the stem and three between stages


@torch.no_grad()
def test_norm_follows_the_pooling():
    model = lively(timm.create_model('ms_mlp_tiny', depths=(1, 1, 1, 1), num_classes=9))
    x = torch.randn(2, 3, 64, 96, dtype=torch.double)
    norm, pooled = model.head.norm, model.forward_features(x).mean((2, 3))
    pooled = (pooled - pooled.mean(1, keepdim=True)) / (pooled.var(1, keepdim=True, unbiased=False) + 1e-6).sqrt()
    expected = (pooled * norm.weight + norm.bias) @ model.head.linear.weight.T + model.head.linear.bias
    assert torch.allclose(model(x), expected, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize('size', [(33, 40), (31, 38), (32, 36)])
def test_incomplete_patches_are_filled_with_zeros(size):
    embed = PatchEmbed(3, 8, 4).double()
    x = torch.randn(2, 3, *size, dtype=torch.double)
    filled = torch.zeros(2, 3, *(4 * -(-side // 4) for side in size), dtype=torch.double)
    filled[..., : size[0], : size[1]] = x
    assert torch.allclose(embed(x), embed(filled), atol=1e-12)


def test_published_initialisation_and_rates():
    model = timm.create_model('ms_mlp_tiny', drop_path_rate=0.1)
    blocks = [m for m in model.modules() if isinstance(m, Block)]
    assert all((b.scale.gamma == 1e-6).all() and (b.mlp.fc1.bias == 0).all() for b in blocks)
    assert abs(model.head.linear.weight.std().item() - 0.02) < 0.002
    rates = [getattr(b.drop_path, 'drop_prob', 0.0) for b in blocks]
    assert rates == pytest.approx([0.1 * i / 17 for i in range(18)])


def test_wrong_arguments():
    for change, message in (
        ({'depths': (1, 1)}, 'for each stage'),
        ({'depths': (1, 0, 1, 1)}, 'at least 1'),
        ({'distances': (-1, 0, 1)}, 'one odd kernel size for each of the 3 distances'),
        ({'kernel_sizes': ((1, 1, 3, 5, 4),) * 4}, 'odd kernel size'),
        ({'embed_dim': 6}, '6 channels cannot be cut into 5 groups'),
    ):
        with pytest.raises(ValueError, match=message):
            timm.create_model('ms_mlp_tiny', **change)


def test_onnx_is_slices_and_concats(tmp_path: Path):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    from backbones.deploy import export_onnx

    model = timm.create_model('ms_mlp_tiny', depths=(1, 1, 1, 1), features_only=True).eval()
    report = export_onnx(model, tmp_path / 'model.onnx', input_size=(3, 96, 64), batch_size=1, dynamic=False)
    assert not {'Gather', 'GatherND', 'ScatterND', 'Pad', 'Range', 'Shape', 'Reshape'} & set(report.operators)
    # a stem, three between stages, and two in each block
    assert report.operators['Conv'] == 4 + 2 * 4
