"""The base also carries isotropic networks, channels-last ones and those with a time axis: a toy of each."""

import pytest
import torch
from timm.models import group_parameters
from torch import nn

from backbones.base import Stage, StagedBackbone, pair


class Tokens(nn.Module):
    """(B, C, H, W) -> (B, N, C)"""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, 16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Isotropic(StagedBackbone):
    """Four blocks of channel mixing on one grid of tokens."""

    def __init__(self, dim: int = 8, depth: int = 4, **kwargs) -> None:
        super().__init__(layout='NLC', **kwargs)
        self.stem = Tokens(self.in_chans, dim)
        self.stages = nn.Sequential(*(nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim)) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.feature_info = [{'num_chs': dim, 'reduction': 16, 'module': f'stages.{i}'} for i in range(depth)]
        self._finish()


class Spike(nn.Module):
    """Integrate over the folded time axis and fire: what leaves a step depends on the steps before it."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.unflatten(0, (self.steps, -1))
        return (x.cumsum(0) - 0.5).sigmoid().flatten(0, 1)


class Stepped(StagedBackbone):
    """Two strided stages of convolution and spikes."""

    def __init__(self, dims: tuple = (4, 8, 12), **kwargs) -> None:
        kwargs.setdefault('num_steps', 4)
        super().__init__(**kwargs)
        self.stem = nn.Sequential(nn.Conv2d(self.in_chans, dims[0], 4, 4), Spike(self.num_steps))
        widths = zip((dims[0], *dims[:-1]), dims, strict=True)
        self.stages = nn.Sequential(
            *(Stage(nn.Conv2d(i, o, 2, 2), [Spike(self.num_steps), nn.Conv2d(o, o, 1)]) for i, o in widths)
        )
        self.feature_info = [{'num_chs': d, 'reduction': 8 * 2**i, 'module': f'stages.{i}'} for i, d in enumerate(dims)]
        self._finish()


class ChannelsLast(StagedBackbone):
    """Three stages in (B, H, W, C), with levels tapped inside the stem."""

    def __init__(self, dim: int = 6, **kwargs) -> None:
        super().__init__(layout='NHWC', **kwargs)
        self.stem = nn.Sequential(nn.Conv2d(self.in_chans, dim, 8, 8), Permute())
        self.stages = nn.Sequential(*(Stage(nn.Identity(), [nn.Linear(dim, dim)]) for _ in range(3)))
        self.norm = nn.LayerNorm(dim)
        self.feature_info = [{'num_chs': dim, 'reduction': 8, 'module': f'stages.{i}'} for i in range(3)]
        self._finish()


class Permute(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1)


TOYS = [Isotropic, Stepped, ChannelsLast]


@pytest.mark.parametrize('toy', TOYS)
def test_toys_keep_the_contract(toy):
    model = toy(num_classes=5).eval()
    x = torch.randn(2, 3, 48, 64)
    assert model(x).shape == (2, 5)
    last, maps = model.forward_intermediates(x)
    for level, info in zip(maps, model.feature_info, strict=True):
        assert level.shape == (2, info['num_chs'], 48 // info['reduction'], 64 // info['reduction'])
    assert torch.equal(last, model.forward_features(x))
    assert torch.allclose(model(x)[:1], model(x[:1]), atol=1e-6)
    tokens = model.forward_intermediates(x, output_fmt='NLC', intermediates_only=True)
    assert torch.equal(tokens[0], maps[0].flatten(2).transpose(1, 2))
    grouped = group_parameters(model, model.group_matcher())
    assert sorted(n for g in grouped.values() for n in g) == sorted(n for n, _ in model.named_parameters())
    plain = model.train()(x)
    model.set_grad_checkpointing()
    assert torch.allclose(model(x), plain, atol=1e-6)
    model.eval().prune_intermediate_layers([1])
    assert torch.equal(model.forward_intermediates(x, indices=[1], intermediates_only=True)[0], maps[1])
    assert len(model.stages) == len(model.feature_info) == 2


def test_tokens_are_laid_out_as_the_image():
    model = Isotropic(num_classes=5).eval()
    x = torch.randn(1, 3, 48, 64)
    maps = model.forward_intermediates(x, indices=[0], intermediates_only=True)[0]
    moved = model.forward_intermediates(x.roll(16, 3), indices=[0], intermediates_only=True)[0]
    assert torch.allclose(moved, maps.roll(1, 3), atol=1e-6)


def test_time_is_folded_and_averaged():
    torch.manual_seed(0)
    four = Stepped(num_classes=5).eval()
    torch.manual_seed(0)
    one = Stepped(num_classes=5, num_steps=1).eval()
    x = torch.randn(2, 3, 32, 32)
    shapes = []
    four.stages[0].register_forward_hook(lambda m, i, o: shapes.append(o.shape))
    four(x)
    assert shapes[0][0] == 8  # T * B
    assert not torch.allclose(four(x), one(x))


@pytest.mark.parametrize('shape', [(1, 3, 31, 40), (1, 2, 32, 32), (3, 32, 32)])
def test_a_compiled_model_checks_its_input_too(shape):
    torch._dynamo.reset()
    with pytest.raises(ValueError, match='An input must be a batch of images'):
        torch.compile(Stepped(num_classes=5).eval(), backend='eager')(torch.zeros(shape))


def test_arguments_are_checked():
    for kwargs, match in [
        ({'drop_rate': 1.5}, 'drop_rate'),
        ({'num_steps': 0}, 'num_steps'),
        ({'in_chans': -1}, 'in_chans'),
        ({'num_classes': -1}, 'num_classes'),
        ({'global_pool': 'median'}, "'avg'"),
        ({'img_size': (64, 64, 64)}, 'at least 32'),
    ]:
        with pytest.raises(ValueError, match=match):
            Stepped(**kwargs)
    assert pair(64) == (64, 64) and pair([48, 32]) == (48, 32)
