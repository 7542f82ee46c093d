"""Codes of an image over time, pixel by pixel."""

import math

import pytest
import timm
import torch

from backbones.layers import ENCODINGS, encode


def pixels() -> torch.Tensor:
    """Brightness from -0.2 to 1.2, with the numbers at which codes change."""
    special = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0, 1 / 256, 255 / 256, 0.999, 1.0 + 1e-9], dtype=torch.float64)
    drawn = torch.rand(51, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.2
    return torch.cat([special, drawn]).reshape(2, 3, 2, 5)


@pytest.mark.parametrize('steps', [1, 3, 4, 10])
def test_codes_are_their_definitions(steps: int) -> None:
    x = pixels()
    for name in ('direct', 'ttfs', 'phase'):
        found = encode(x, steps, name).unflatten(0, (steps, 2)).flatten(1)
        for value, events in zip(x.flatten().tolist(), found.T.tolist(), strict=True):
            if name == 'direct':
                expected = [value] * steps
            elif name == 'ttfs':
                level = math.ceil(value * steps)  # T - i <= T, where T - i - 1 < x T <= T - i
                first = steps - level if 1 <= level <= steps else None
                expected = [1 / (i + 1) if i == first else 0 for i in range(steps)]
            else:
                digits = int(256 * value)
                expected = [2.0 ** -(i % 8) * (digits >> (7 - i % 8) & 1) for i in range(steps)]
            assert events == expected, (name, value)


def test_rate_fires_as_often_as_a_pixel_is_bright() -> None:
    torch.manual_seed(0)
    x = torch.tensor([-0.5, 0.0, 0.2, 0.7, 1.0, 1.5]).reshape(1, 1, 2, 3)
    spikes = encode(x, 4000, 'rate')
    assert set(spikes.unique().tolist()) == {0, 1}
    assert torch.allclose(spikes.mean(0), x[0].clamp(0, 1), atol=0.03)
    assert not torch.equal(encode(x, 40, 'rate'), encode(x, 40, 'rate'))


@pytest.mark.parametrize('name', ENCODINGS)
def test_type_is_kept(name: str) -> None:
    assert encode(pixels().bfloat16(), 4, name).dtype == torch.bfloat16


def test_digits_of_half_precision_are_those_of_its_numbers() -> None:
    x = pixels().bfloat16()
    assert torch.equal(encode(x, 8, 'phase').double(), encode(x.double(), 8, 'phase'))


@torch.no_grad()
@pytest.mark.parametrize('name', [*ENCODINGS])
def test_model_sees_the_code(name: str) -> None:
    torch.manual_seed(0)
    model = timm.create_model('spikformer_cifar', encoding=name, embed_dim=32, depth=1, num_heads=2).eval()
    seen = []
    model.stem[0].conv.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    image = torch.rand(2, 3, 32, 32)
    model(image)
    if name == 'direct':  # the first layer runs once
        assert torch.equal(seen[0], image)
    else:
        assert seen[0].shape == (8, 3, 32, 32)
        assert name == 'rate' or torch.equal(seen[0], encode(image, 4, name))


def test_mistakes() -> None:
    with pytest.raises(ValueError, match='direct, rate, ttfs, phase'):
        encode(torch.zeros(1, 3, 4, 4), 4, 'burst')
    with pytest.raises(ValueError, match='direct, rate, ttfs, phase'):
        timm.create_model('spikformer_cifar', encoding='burst')
    with pytest.raises(ValueError, match='at least 1'):
        encode(torch.zeros(1, 3, 4, 4), 0, 'ttfs')
    model = timm.create_model('spikformer_cifar', encoding='rate', embed_dim=16, depth=1, num_heads=2).eval()
    with pytest.raises(ValueError, match="export a model with encoding='direct'"):
        torch.export.export(model, (torch.zeros(1, 3, 32, 32),), strict=False)
