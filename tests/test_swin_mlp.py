"""What is Swin-MLP's alone: its windows at any size, their resampling, how patches are merged, what it refuses."""

import math
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F

from backbones.layers import window_linear
from backbones.layers.window import _linear
from backbones.models.swin_mlp import PatchMerging, SpatialMlp, checkpoint_filter_fn


def mixer(window: int, grid: tuple[int, int], shifted: bool, heads: int = 2, dim: int = 6) -> SpatialMlp:
    made = SpatialMlp(dim, heads, window, shifted, grid, dtype=torch.double)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def by_convolution(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, before: int) -> torch.Tensor:
    """Windows by unfold and fold, and the published form of the map: a grouped convolution over heads * positions."""
    heads, count = bias.shape
    window = math.isqrt(count)
    height, width = x.shape[1:3]
    tall, wide = (window * -(-(side + before) // window) for side in (height, width))
    padded = F.pad(x.permute(0, 3, 1, 2), (before, wide - width - before, before, tall - height - before))
    columns = F.unfold(padded, window, stride=window).unflatten(1, (heads, -1, count))  # B heads c w*w windows
    tokens = columns.permute(0, 4, 1, 3, 2).flatten(0, 1).flatten(1, 2)  # B*windows heads*w*w c
    mixed = F.conv1d(tokens, weight.flatten(0, 1)[:, :, None], bias.flatten(), groups=heads)
    mixed = mixed.unflatten(0, (len(x), -1)).unflatten(2, (heads, -1)).permute(0, 2, 4, 3, 1)
    y = F.fold(mixed.flatten(1, 3), (tall, wide), window, stride=window)
    return y[..., before : before + height, before : before + width].permute(0, 2, 3, 1)


@torch.no_grad()
@pytest.mark.parametrize('grid', [(12, 8), (9, 14), (5, 5)])
@pytest.mark.parametrize(('window', 'shifted'), [(4, False), (4, True), (3, True)])
def test_mixer_is_the_published_convolution_over_windows(grid, window, shifted):
    made = mixer(window, grid, shifted)
    assert made.shift == (window // 2 if shifted else 0)
    x = torch.randn(3, *grid, 6, dtype=torch.double)
    before = window - window // 2 if shifted else 0
    assert torch.allclose(made(x), by_convolution(x, made.weight, made.bias, before), atol=1e-12)


def test_window_that_covers_a_grid_is_not_shifted():
    assert [(m.window, m.shift) for m in (mixer(4, grid, True) for grid in [(4, 9), (3, 8), (5, 9)])] == [
        (4, 0),
        (3, 0),
        (4, 2),
    ]
    made = mixer(4, (8, 8), True)
    made.weight.requires_grad_(False)
    made.set_grid((3, 8))
    assert (made.window, made.shift, made.weight.shape) == (3, 0, (2, 9, 9)) and not made.weight.requires_grad
    assert made(torch.randn(1, 3, 8, 6, dtype=torch.double)).shape == (1, 3, 8, 6)


@torch.no_grad()
@pytest.mark.parametrize('window', [2, 3, 6])
def test_resampled_map_is_the_old_one_between_two_resizes(window):
    made = mixer(4, (8, 8), False)
    weight, bias = made.weight.clone(), made.bias.clone()
    made.window_size = window
    made.set_grid((12, 12))
    x = torch.randn(5, 6, window, window, dtype=torch.double)
    small = F.interpolate(x, (4, 4), mode='bilinear', align_corners=True).permute(0, 2, 3, 1)
    y = window_linear(small, weight, bias).permute(0, 3, 1, 2)
    expected = F.interpolate(y, (window, window), mode='bilinear', align_corners=True)
    assert torch.allclose(made(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), expected, atol=1e-12)


@pytest.mark.parametrize('before', [0, 2])
def test_gradients_of_the_parts(before, monkeypatch):
    """Written by hand, for as few images at a time as there are."""
    monkeypatch.setattr('backbones.layers.window.PART', 1)
    made = mixer(3, (9, 9), False)
    values = [torch.randn(3, 7, 5, 6, dtype=torch.double, requires_grad=True), made.weight, made.bias]
    assert torch.autograd.gradcheck(lambda *v: window_linear(*v, before), values)
    loss, plain = (form(*values, before).cos().sum() for form in (window_linear, _linear))
    for found, expected in zip(
        torch.autograd.grad(loss, values, create_graph=True),
        torch.autograd.grad(plain, values, create_graph=True),
        strict=True,
    ):
        assert torch.allclose(found, expected, atol=1e-12)
        again = [torch.autograd.grad(g.sin().sum(), values, retain_graph=True) for g in (found, expected)]
        assert all(torch.allclose(a, b, atol=1e-11) for a, b in zip(*again, strict=True))


@torch.no_grad()
@pytest.mark.parametrize('sides', [(6, 4), (5, 7)])
def test_patches_merge_row_by_row(sides):
    merge = PatchMerging(3, dtype=torch.double)
    x = torch.randn(2, *sides, 3, dtype=torch.double)
    padded = F.pad(x, (0, 0, 0, sides[1] % 2, 0, sides[0] % 2))
    joined = torch.cat([padded[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)
    assert torch.allclose(merge(x), merge.reduction(merge.norm(joined)), atol=1e-12)


@torch.no_grad()
def test_checkpoint_of_another_size_is_resampled_as_the_model_would():
    small: dict[str, Any] = {'embed_dim': 16, 'depths': (1, 1, 1, 2), 'num_heads': (2, 2, 2, 2), 'num_classes': 3}
    model = timm.create_model('swin_mlp_tiny_c24_patch4_window8_256', **small).eval()
    made = timm.create_model('swin_mlp_tiny_c24_patch4_window8_256', img_size=(160, 128), **small).eval()
    made.load_state_dict(checkpoint_filter_fn(model.state_dict(), made), strict=True)
    model.set_input_size((160, 128))
    assert made.stages[3].blocks[0].mixer.window == 4
    x = torch.randn(1, 3, 160, 128)
    assert torch.allclose(made(x), model(x), atol=1e-5)


def test_wrong_arguments():
    for change, message in (
        ({'depths': (1, 1)}, 'for each stage'),
        ({'depths': (1, 0, 1, 1)}, 'at least 1'),
        ({'window_size': 0}, 'at least 1'),
        ({'num_heads': (4, 8, 16, 31)}, '768 is no multiple of 31'),
    ):
        with pytest.raises(ValueError, match=message):
            timm.create_model('swin_mlp_tiny_c24_patch4_window8_256', **change)
