"""Max-ResNet: against its formula, step by step."""

from typing import Any

import pytest
import spiking_reference as naive
import torch
import torch.nn.functional as F

from backbones.deploy.spikes import listening
from backbones.layers import ConvNorm
from backbones.models.max_resnet import MaxResNet

Steps = list[torch.Tensor]


def lively() -> Any:
    """A narrow model in float64 whose neurons fire now and then."""
    torch.manual_seed(0)
    return naive.lively(MaxResNet(stem_dim=8, dims=(16, 24), depths=(2, 2), num_steps=3, num_classes=5))


def lif(xs: Steps) -> Steps:
    v, spikes = torch.zeros_like(xs[0]), []
    for x in xs:
        h = v + (x - v) / 2
        s = (h >= 1).to(x.dtype)
        v = (1 - s) * h
        spikes.append(s)
    return spikes


def conv_bn(layer: ConvNorm, xs: Steps, stride: int = 1) -> Steps:
    norm = layer.norm
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps))[:, None, None]
    shift = norm.bias[:, None, None] - norm.running_mean[:, None, None] * scale
    side = layer.conv.weight.shape[-1]
    return [F.conv2d(x, layer.conv.weight, None, stride, side // 2) * scale + shift for x in xs]


def pool(xs: Steps) -> Steps:
    return [F.pad(x, (1, 1, 1, 1), value=-torch.inf).unfold(2, 3, 2).unfold(3, 3, 2).amax((-1, -2)) for x in xs]


@torch.no_grad()
def test_it_is_its_formula() -> None:
    model = lively()
    x = torch.randn(2, 3, 32, 48, dtype=torch.float64)
    xs, maps = conv_bn(model.stem.conv, [x] * 3), []
    for i, stage in enumerate(model.stages):
        for b, block in enumerate(stage.blocks):
            halves = i > 0 and b == 0
            y = conv_bn(block.conv1, lif(xs))
            y = conv_bn(block.conv2, lif(pool(y) if halves else y))
            shortcut = conv_bn(block.shortcut, xs, 2 if halves else 1) if b == 0 else xs
            xs = [p + q for p, q in zip(shortcut, y, strict=True)]
        maps.append(sum(xs) / 3)
    logits = sum(F.linear(s.mean((2, 3)), model.head.weight, model.head.bias) for s in lif(xs)) / 3
    with listening(model) as spikes:
        assert torch.allclose(model(x), logits, atol=1e-12)
    assert len(spikes) == 9 and all(0.02 < found.mean() < 0.98 for found in spikes)
    for found, wanted in zip(model.forward_intermediates(x, intermediates_only=True), maps, strict=True):
        assert torch.allclose(found, wanted, atol=1e-12)


def test_mistakes_are_named() -> None:
    for kwargs in ({'dims': (16,)}, {'depths': (1, 0, 1)}, {'stem_dim': 0}):
        with pytest.raises(ValueError, match='a width and a depth of at least 1'):
            MaxResNet(**kwargs)
