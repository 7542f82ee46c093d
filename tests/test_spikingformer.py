"""What is Spikingformer's alone: attention between membranes, so that all but the first convolution see spikes."""

import pytest
import spiking_reference as naive
import timm
import torch
from torch import nn

from backbones.layers import ConvNorm

SMALL = {'embed_dim': 32, 'depth': 2, 'num_heads': 2, 'num_classes': 7}


def small(name: str = 'spikingformer_8_384', **kwargs) -> nn.Module:
    return naive.lively(timm.create_model(name, **{**SMALL, **kwargs}), bias=0.7)


def picture(batch: int = 2, height: int = 67, width: int = 90) -> torch.Tensor:
    return torch.randn(batch, 3, height, width, dtype=torch.double)


def forward(model: nn.Module, x: torch.Tensor, steps: int, pools: tuple[int, ...]):
    """Levels and logits by the equations of the paper, the image shown at each step."""
    x = x.repeat(steps, 1, 1, 1)
    levels = []
    convs = (*model.stem, model.stages[0].downsample, model.stages[1].downsample[0])
    for module, pooled in zip(convs, pools, strict=True):
        x = naive.spikes(naive.conv(module.conv, x), steps)
        x = naive.pool(x) if pooled else x
        levels.append(x)
    x = naive.conv(model.stages[1].downsample[1], x)
    for block in model.stages[1].blocks:
        x = x + naive.attention(block.mixer, naive.spikes(x, steps), steps)
        x = x + naive.mlp(block.mlp, x, steps)
    levels[3] = x
    logits = naive.over_time(x.flatten(2).mean(2), steps) @ model.head.weight.T + model.head.bias
    return [naive.over_time(level, steps) for level in levels[1:]], logits


@torch.no_grad()
@pytest.mark.parametrize(
    ('name', 'pools'), [('spikingformer_8_384', (1, 1, 1, 1)), ('spikingformer_cifar', (0, 0, 1, 1))]
)
@pytest.mark.parametrize('steps', [1, 3])
def test_is_its_equations(name: str, pools: tuple[int, ...], steps: int) -> None:
    model, x = small(name, num_steps=steps), picture()
    naive.check_rates(model, x)
    levels, logits = forward(model, x, steps, pools)
    for level, expected in zip(model.forward_intermediates(x, intermediates_only=True), levels, strict=True):
        assert torch.allclose(level, expected, atol=1e-12)
    assert logits.std() > 0.01
    assert torch.allclose(model(x), logits, atol=1e-12)


@torch.no_grad()
def test_only_the_first_convolution_sees_other_than_spikes() -> None:
    model, seen = small(), {}
    for name, module in model.named_modules():
        if isinstance(module, ConvNorm):
            module.register_forward_hook(lambda m, inputs, output, name=name: seen.update({name: inputs[0].unique()}))
    model(picture())
    assert len(seen) > 10
    assert [name for name, values in seen.items() if values.tolist() not in ([0, 1], [0])] == ['stem.0.conv']


def test_last_convolution_of_the_attention_has_the_published_bias() -> None:
    authors, step = (timm.create_model(name) for name in ('spikingformer_4_384_cifar', 'spikingformer_cifar'))
    assert authors.stages[1].blocks[0].mixer.proj.conv.bias is not None
    assert step.stages[1].blocks[0].mixer.proj.conv.bias is None
    assert sum(p.numel() for p in authors.parameters()) - sum(p.numel() for p in step.parameters()) == 4 * 384


def test_wrong_arguments() -> None:
    for change in ({'embed_dim': 36}, {'depth': 0}, {'pools': (True, True)}):
        with pytest.raises(ValueError, match='that 8 divides, at least one block and four poolings'):
            timm.create_model('spikingformer_cifar', **change)
    with pytest.raises(ValueError, match='num_heads must divide the 384 channels'):
        timm.create_model('spikingformer_cifar', num_heads=7)
