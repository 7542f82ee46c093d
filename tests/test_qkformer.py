"""What is QKFormer's alone: gates of tokens, its deformed shortcuts, maps of whole numbers, images taken for steps."""

from pathlib import Path
from typing import Any

import pytest
import spiking_reference as naive
import timm
import torch
from torch import nn

pytest.importorskip('onnxscript')

from backbones.deploy import export_onnx
from backbones.deploy.verify import session

SMALL = {'embed_dim': 32, 'depths': (1, 1, 2), 'num_heads': 2, 'num_classes': 7}


def small(name: str = 'qkformer_10_384', **kwargs) -> nn.Module:
    return naive.lively(timm.create_model(name, **{**SMALL, **kwargs}), bias=0.7)


def picture(batch: int = 2, height: int = 67, width: int = 90) -> torch.Tensor:
    return torch.randn(batch, 3, height, width, dtype=torch.double)


def token_gate(module: nn.Module, x: torch.Tensor, steps: int) -> torch.Tensor:
    q, k = naive.spikes(naive.conv(module.qk, x), steps).chunk(2, 1)
    gated = [
        keys * naive.spikes(queries.sum(1, keepdim=True), steps, 0.5)
        for queries, keys in zip(q.chunk(module.num_heads, 1), k.chunk(module.num_heads, 1), strict=True)
    ]
    return naive.conv(module.proj, torch.cat(gated, 1))


def embed(module: nn.Module, x: torch.Tensor, steps: int, pools: tuple[int, ...]) -> torch.Tensor:
    y = x
    for layer, pooled in zip(module.body, pools, strict=True):
        y = naive.conv(layer.conv, y)
        y = naive.spikes(naive.pool(y) if pooled else y, steps)
    return y + naive.spikes(naive.conv(module.shortcut, x), steps)


def forward(model: nn.Module, x: torch.Tensor, steps: int, is_small: bool, serial: bool):
    """Levels and logits by the equations of the paper, the image shown at each step."""
    x = naive.conv(model.stem.conv, x.repeat(steps, 1, 1, 1))
    x = naive.spikes(x if is_small else naive.pool(x), steps)
    levels = []
    for i, stage in enumerate(model.stages):
        pools = ((0,), (0, 1), (0, 1)) if is_small else ((1, 0),) * 3
        x = embed(stage.downsample, x, steps, pools[i])
        for block in stage.blocks:
            y = naive.attention(block.mixer, x, steps) if i == 2 else token_gate(block.mixer, x, steps)
            x = x + naive.spikes(y, len(y) if serial and i == 2 else steps)
            x = x + naive.mlp(block.mlp, x, steps)
        levels.append(naive.over_time(x, steps))
    return levels, levels[-1].flatten(2).mean(2) @ model.head.weight.T + model.head.bias


@torch.no_grad()
@pytest.mark.parametrize(
    ('name', 'is_small', 'serial'), [('qkformer_10_384', False, True), ('qkformer_cifar', True, False)]
)
@pytest.mark.parametrize('steps', [1, 3])
def test_is_its_equations(name: str, is_small: bool, serial: bool, steps: int) -> None:
    model, x = small(name, num_steps=steps), picture()
    naive.check_rates(model, x)
    levels, logits = forward(model, x, steps, is_small, serial)
    for level, expected in zip(model.forward_intermediates(x, intermediates_only=True), levels, strict=True):
        assert torch.allclose(level, expected, atol=1e-12)
    assert logits.std() > 0.01
    assert torch.allclose(model(x), logits, atol=1e-12)


@torch.no_grad()
def test_maps_hold_whole_numbers() -> None:
    model = small(num_steps=1)
    for level in model.forward_intermediates(picture(), intermediates_only=True):
        assert torch.equal(level, level.round()) and 2 < level.max() <= 6


@torch.no_grad()
def test_images_are_kept_apart_unless_asked() -> None:
    """What the authors' neurons behind self-attention carry from image to image, STEP's do not."""
    serial, x = small(), picture(3)
    apart = small(mixed_batch=False)
    apart.load_state_dict(serial.state_dict())
    alone = torch.cat([apart(image[None]) for image in x])
    assert torch.allclose(apart(x), alone, atol=1e-12)
    assert torch.allclose(torch.cat([serial(image[None]) for image in x]), alone, atol=1e-12)
    assert not torch.allclose(serial(x), alone, atol=1e-3)


def test_gradients_of_images_as_steps_are_those_of_the_definition() -> None:
    """The gradient by hand and the one that torch finds where it compiles."""
    model, x = small(depths=(1, 1, 1)).train(), picture()
    grads = []
    for run in (model, torch.compile(model, fullgraph=True, backend='eager')):
        model.zero_grad()
        run(x).square().sum().backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    torch._dynamo.reset()
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(*grads, strict=True))


@torch.no_grad()
def test_an_exported_program_keeps_images_apart() -> None:
    serial, x = small(), picture(2)
    program = torch.export.export(serial, (x,), dynamic_shapes=({0: torch.export.Dim('batch')},)).module()
    alone = torch.cat([serial(image[None]) for image in x])
    assert torch.allclose(program(x), alone, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize('free', [False, 'batch'])
def test_a_file_keeps_images_apart(free: Any, tmp_path: Path) -> None:
    """Also one whose batch is fixed."""
    serial, x = small().float(), picture(3).float()
    export_onnx(serial, tmp_path / 'model.onnx', input_size=x.shape[1:], batch_size=3, dynamic=free)
    (logits,) = session(str(tmp_path / 'model.onnx')).run(None, {'input': x.numpy()})
    alone = torch.cat([serial(image[None]) for image in x])
    assert torch.allclose(torch.from_numpy(logits), alone, atol=1e-4)
    assert not torch.allclose(serial(x), alone, atol=1e-3)


def test_wrong_arguments() -> None:
    for change in ({'embed_dim': 36}, {'depths': (1, 1)}, {'depths': (1, 0, 1)}):
        with pytest.raises(ValueError, match='that 8 divides and three stages of at least one block'):
            timm.create_model('qkformer_cifar', **change)
    with pytest.raises(ValueError, match='num_heads must divide the 96 channels'):
        timm.create_model('qkformer_cifar', num_heads=7)
