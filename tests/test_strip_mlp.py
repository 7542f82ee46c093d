"""What is Strip-MLP's alone: strips, overlapping windows, paths between stages, response norm, spellings."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from parity import load, state_arrays
from torch import nn

from backbones.layers import NormMlp, ResponseMlp, overlap_merge, overlap_partition
from backbones.models.strip_mlp import (
    DiagonalPosition,
    MultiPathDownsample,
    StripLinear,
    StripMixer,
    checkpoint_filter_fn,
)

RECORDS = Path(__file__).parent / 'records'

NAME = 'strip_mlp_tiny_light'


def randomised(module: nn.Module) -> nn.Module:
    """The module in float64 with all its parameters drawn anew."""
    for parameter in module.double().parameters():
        nn.init.normal_(parameter, std=0.4)
    return module


@torch.no_grad()
def test_strip_linear_is_its_equation():
    layer = randomised(StripLinear(2, 5))
    x = torch.randn(3, 2, 5, 4, dtype=torch.double)
    weight, bias = layer.weight.reshape(2, 5, 5, 3), layer.bias.reshape(2, 5)
    expected = bias[None, :, :, None].expand(3, 2, 5, 4).clone()
    for s in range(4):
        for t in (-1, 0, 1):
            if 0 <= s + t < 4:
                expected[..., s] += torch.einsum('goi,ngi->ngo', weight[..., t + 1], x[..., s + t])
    assert torch.allclose(layer(x), expected, atol=1e-12)


@torch.no_grad()
def test_position_depends_on_the_distance_from_the_diagonal():
    position = randomised(DiagonalPosition(3, (2, 4)))
    p = position(2, 4)
    assert p.shape == (3, 2, 4)
    for y in range(2):
        for x in range(4):
            assert torch.equal(p[:, y, x], position.table[x - y + 2])


def windows_of(length: int, window: int) -> list[int]:
    """First positions of the windows, by the rule of the detector's code with Python's own rounding."""
    if length <= window:
        return [0]
    count = round(length / window + 0.5)
    overlap = round((count * window - length) / (count - 1) - 0.5)
    return [min(i * (window - overlap), length - window) for i in range(count)]


def stitched(parts: list[torch.Tensor], starts: list[int], length: int) -> torch.Tensor:
    """Windows laid one after the other along the last axis; where one meets what lies there, both are averaged."""
    out = parts[0].new_zeros(*parts[0].shape[:-1], max(length, parts[0].shape[-1]))
    filled = 0
    for part, start in zip(parts, starts, strict=True):
        end = start + part.shape[-1]
        out[..., start:filled] = (out[..., start:filled] + part[..., : filled - start]) / 2
        out[..., filled:end] = part[..., filled - start :]
        filled = end
    return out[..., :length]


@torch.no_grad()
@pytest.mark.parametrize('window', [(3, 5), (4, 4)], ids=str)
@pytest.mark.parametrize('sides', [(2, 3), (3, 5), (4, 4), (7, 11), (8, 12), (12, 20), (13, 6)], ids=str)
def test_windows_overlap_and_are_averaged_as_published(sides, window):
    x = torch.randn(2, 3, *sides, dtype=torch.double)
    rows, columns = (windows_of(side, step) for side, step in zip(sides, window, strict=True))
    padded = F.pad(x, (0, max(0, window[1] - sides[1]), 0, max(0, window[0] - sides[0])))
    cut = [[padded[:, :, i : i + window[0], j : j + window[1]] for j in columns] for i in rows]
    found = overlap_partition(x, window)
    assert torch.equal(found, torch.stack([w for row in cut for w in row], 1).flatten(0, 1))
    noise = torch.randn(found.shape, dtype=torch.double)
    pieces = noise.unflatten(0, (2, len(rows), len(columns)))
    lines = [stitched(list(pieces[:, i].unbind(1)), columns, sides[1]) for i in range(len(rows))]
    expected = stitched([line.mT for line in lines], rows, sides[0]).mT
    assert torch.allclose(overlap_merge(noise, *sides), expected, atol=1e-12)


def resized(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(x, size, mode='bilinear', align_corners=True)


@torch.no_grad()
@pytest.mark.parametrize('grid', [(4, 6), (8, 8)])
def test_resampled_strips_are_the_old_ones_between_two_resizes(grid):
    mixer = randomised(StripMixer(8, 2, (6, 6))).eval()
    old = {name: parameter.clone() for name, parameter in mixer.named_parameters()}
    mixer.set_grid(grid)
    for name, length in (('rows', grid[1]), ('columns', grid[0])):
        layer = StripLinear(4, 6, dtype=torch.double)
        layer.load_state_dict({key: old[f'{name}.{key}'] for key in ('weight', 'bias')})
        x = torch.randn(2, 4, length, 5, dtype=torch.double)
        expected = resized(layer(resized(x, (6, 5))), (length, 5))
        assert torch.allclose(getattr(mixer, name)(x), expected, atol=1e-12)
    for name in ('row_position', 'column_position'):
        table, before = mixer.get_parameter(f'{name}.table'), old[f'{name}.table']
        assert len(table) == sum(grid) + 1
        right = F.interpolate(before[6:-1].T[None], grid[1], mode='linear', align_corners=True)[0].T
        assert torch.allclose(table[grid[0] + 1 : -1], right[1:], atol=1e-12)
    assert mixer(torch.randn(1, 8, *grid, dtype=torch.double)).isfinite().all()


@torch.no_grad()
def test_paths_join_the_stages_behind():
    down, next_down = randomised(MultiPathDownsample(2, 2)), randomised(MultiPathDownsample(4, 1))
    x = torch.randn(1, 2, 16, 16, dtype=torch.double)
    z, first, second = down(x)
    assert [t.shape[1:] for t in (z, first, second)] == [(4, 8, 8), (8, 4, 4), (16, 2, 2)]
    assert torch.allclose(first, F.conv2d(z, down.paths[0].conv.weight, stride=2, groups=4), atol=1e-12)
    assert torch.allclose(second, F.conv2d(first, down.paths[1].conv.weight, stride=2, groups=8), atol=1e-12)
    alone, path = next_down(z)
    joined, paths = next_down((z, first, second))
    assert torch.allclose(joined, alone + first, atol=1e-12) and torch.allclose(paths, path + second, atol=1e-12)


def test_pruning_drops_the_paths_to_what_is_gone():
    model = timm.create_model(NAME, depths=(1, 1, 1, 1), embed_dim=16)
    assert [len(stage.downsample.paths) for stage in model.stages[1:]] == [2, 1, 0]
    model.prune_intermediate_layers([1])
    assert [len(stage.downsample.paths) for stage in model.stages[1:]] == [0]
    assert len(model.forward_intermediates(torch.randn(1, 3, 64, 64), intermediates_only=True)) == 2


def test_both_published_spellings_load():
    model = timm.create_model(NAME)
    arrays = state_arrays(load(RECORDS / f'{NAME}.json.gz'))
    official = {key: torch.from_numpy(value) for key, value in arrays.items()}
    misspelt = {key.replace('.proj_w.', '.proh_w.'): value for key, value in official.items()}
    assert misspelt.keys() != official.keys()
    found, expected = (checkpoint_filter_fn(state, model) for state in (misspelt, official))
    assert found.keys() == expected.keys() == model.state_dict().keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)


def compare_gradients(layer: nn.Module, plain: Callable[[torch.Tensor], torch.Tensor], shape: tuple[int, ...]) -> None:
    """Gradients of `layer`, written by hand, and theirs, against those that autograd finds for its equation."""
    x = torch.randn(shape, dtype=torch.double, requires_grad=True)
    values = (x, *layer.parameters())
    grads = []
    for run in (layer, plain):
        loss = run(x).cos().sum()
        alone = torch.autograd.grad(loss, values, retain_graph=True)
        first = torch.autograd.grad(loss, values, create_graph=True)
        bent = torch.stack([g.sin().sum() for g in first]).sum()
        grads.append((loss, *alone, *first, *torch.autograd.grad(bent, values)))
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(*grads, strict=True))


def response(layer: ResponseMlp, x: torch.Tensor) -> torch.Tensor:
    """The equation of ConvNeXt V2, operator by operator."""
    h = layer.act(layer.fc1(layer.norm(x)))
    g = h.norm(dim=(1, 2), keepdim=True)
    h = h * (1 + layer.gamma * g / (g.mean(-1, keepdim=True) + 1e-6))
    return layer.fc2(h if layer.beta is None else h + layer.beta)


def test_gradients_of_the_response_perceptron_by_image(monkeypatch):
    monkeypatch.setattr('backbones.layers.response_mlp.POSITIONS', 1)
    layer = randomised(ResponseMlp(4, 7))
    compare_gradients(layer, lambda x: response(layer, x), (2, 3, 5, 4))


@pytest.mark.parametrize('grad', [True, False])
def test_fused_response_perceptron(grad, monkeypatch):
    monkeypatch.setattr('backbones.layers.response_mlp.POSITIONS', 1)
    layer = randomised(ResponseMlp(4, 7)).eval()
    fused = layer.fuse()
    x = torch.randn(2, 3, 5, 4, dtype=torch.double)
    with torch.set_grad_enabled(grad):
        assert torch.allclose(fused(x), response(layer, x), atol=1e-10)
    compare_gradients(fused, lambda x: response(fused, x), (2, 3, 5, 4))


@pytest.mark.parametrize('rows', [1, 10**6])
@pytest.mark.parametrize('shape', [(2, 5, 4), (1, 4)])
def test_gradients_of_the_perceptron_in_parts(shape, rows, monkeypatch):
    """In parts of one position for each thread, and in one part."""
    monkeypatch.setattr('backbones.layers.mlp_parts.ROWS', rows)
    layer = randomised(NormMlp(4, 7))
    compare_gradients(layer, lambda x: layer.fc2(layer.act(layer.fc1(layer.norm(x)))), shape)


@pytest.mark.parametrize('shape', [(0, 4), (2, 0, 4)])
def test_perceptron_of_no_positions(shape):
    layer, x = NormMlp(4, 7), torch.randn(shape, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.shape == shape and not layer.fc1.weight.grad.any()


def test_wrong_arguments():
    with pytest.raises(ValueError, match='embed_dim must be a multiple of 2 x patches = 4, but got 18'):
        timm.create_model(NAME, embed_dim=18)
