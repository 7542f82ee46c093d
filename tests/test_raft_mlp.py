"""What is RaftMLP's alone: its token mixers, maps on other grids than the trained one, patches of several sizes."""

from pathlib import Path

import parity
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

import backbones
from backbones.layers import NormMlp, resize_map
from backbones.models import raft_mlp
from backbones.models.raft_mlp import Block, HorizontalMixer, PatchEmbedding, TokenMixer, VerticalMixer

RECORDS = Path(__file__).parent / 'records'
MIXERS = {'full': (TokenMixer, 1), 'vertical': (VerticalMixer, 2), 'horizontal': (HorizontalMixer, 3)}


def randomised(module: nn.Module) -> nn.Module:
    """In float64 and evaluation mode, with norms and biases that do something."""
    for p in module.parameters():
        nn.init.normal_(p, std=0.2)
    return module.double().eval()


def bicubic(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """torch's own resize of a map (B, H, W, C)."""
    return F.interpolate(x.permute(0, 3, 1, 2), size, mode='bicubic').permute(0, 2, 3, 1)


def defined(mixer: TokenMixer, x: torch.Tensor) -> torch.Tensor:
    """What the published code mixes, a vector at a time, from weights in our order: position outside, raft inside."""
    height, width, chans = x.shape[1], x.shape[2], x.shape[3] // mixer.raft
    y, out = mixer.norm(x), torch.empty_like(x)

    def mlp(vectors: list[torch.Tensor]) -> list[torch.Tensor]:
        vector = torch.stack(vectors, -1)
        return list(mixer.fc2(F.gelu(mixer.fc1(vector))).unbind(-1))

    lines = {
        VerticalMixer: [[(i, j) for i in range(height)] for j in range(width)],
        HorizontalMixer: [[(i, j) for j in range(width)] for i in range(height)],
        TokenMixer: [[(i, j) for i in range(height) for j in range(width)]],
    }[type(mixer)]
    for line in lines:
        for c in range(chans):
            places = [(i, j, r * chans + c) for i, j in line for r in range(mixer.raft)]
            for (i, j, k), value in zip(places, mlp([y[:, i, j, k] for i, j, k in places]), strict=True):
                out[:, i, j, k] = value
    return out


@torch.no_grad()
@pytest.mark.parametrize('kind', MIXERS)
def test_mixers_are_their_definition(kind):
    make, raft = MIXERS[kind]
    mixer = randomised(make(6, (4, 5), (4, 5), 2, raft))
    x = torch.randn(2, 4, 5, 6, dtype=torch.double)
    assert torch.allclose(mixer(x), defined(mixer, x), atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize('mixers', [('full',), ('vertical', 'horizontal')], ids=str)
@pytest.mark.parametrize('size', [(9, 12), (2, 3), (5, 8), (3, 20), (30, 7), (1, 1)], ids=str)
def test_a_map_of_another_size_is_mixed_on_the_grid(mixers, size):
    """Small maps take a shortcut, which computes only what the resize back looks at."""
    tokens = [MIXERS[kind][0](6, (9, 12), (9, 12), 2, 3 if len(mixers) == 2 else 1) for kind in mixers]
    block = randomised(Block([*tokens, NormMlp(6, 12)]))
    x = torch.randn(2, *size, 6, dtype=torch.double)
    t = bicubic(x, (9, 12))
    for mixer in tokens:
        t = t + mixer(t)
    z = bicubic(t, size)
    assert torch.allclose(block(x), z + block.branches[-1](z), atol=1e-11)


class Resize(nn.Module):
    """The first map in the size of the second."""

    def forward(self, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return resize_map(x, *like.shape[1:3])


@torch.no_grad()
def test_resize_of_a_map_is_torchs():
    def maps(*size: int) -> torch.Tensor:
        return torch.randn(2, *size, 3, dtype=torch.double)

    free = dict.fromkeys((1, 2), torch.export.Dim.DYNAMIC)
    traced = torch.export.export(Resize(), (maps(20, 30), maps(13, 17)), dynamic_shapes=(free, free)).module()
    x = maps(5, 6)
    for size in ((7, 4), (2, 9), (16, 16), (5, 6)):
        assert torch.allclose(resize_map(x, *size), bicubic(x, size), atol=1e-12)
        assert torch.allclose(traced(x, maps(*size)), bicubic(x, size), atol=1e-12)
    assert resize_map(x, 5, 6) is x


@torch.no_grad()
@pytest.mark.parametrize('size', [(8, 12), (9, 7)], ids=str)
def test_embedding_is_a_linear_layer_on_all_patches(size):
    embedding = randomised(PatchEmbedding(3, 5, (2, 4, 8)))
    x = torch.randn(2, *size, 3, dtype=torch.double)
    image = bicubic(x, tuple(-(-side // 2) * 2 for side in size)).permute(0, 3, 1, 2)
    parts = [F.unfold(image, k, stride=2, padding=(k - 2) // 2).unflatten(1, (3, k * k)) for k in (2, 4, 8)]
    y = torch.einsum('oct,bctn->bno', embedding.weight[:, :, 0], torch.cat(parts, 2)) + embedding.bias
    assert torch.allclose(embedding(x).flatten(1, 2), y, atol=1e-12)
    assert torch.allclose(embedding.fuse()(x), embedding(x), atol=1e-12)
    assert embedding.fuse().weight.shape == (5, 3, 1, 64)


@torch.no_grad()
@pytest.mark.parametrize('kind', MIXERS)
def test_another_grid_folds_both_resizes_into_the_weights(kind):
    make, raft = MIXERS[kind]
    mixer = randomised(make(6, (4, 5), (4, 5), 2, raft))
    first, second, bias = (p.clone() for p in (mixer.fc1.weight, mixer.fc2.weight, mixer.fc2.bias))
    old, new = mixer.mixed((4, 5)), mixer.mixed((7, 3))
    mixer.set_grid((7, 3))
    assert mixer.fc1.weight.shape == mixer.fc2.weight.mT.shape == (len(first), raft * new[0] * new[1])
    vectors = torch.randn(2, *new, raft, dtype=torch.double)
    assert torch.allclose(mixer.fc1.weight @ vectors[0].flatten(), first @ bicubic(vectors, old)[0].flatten())
    table = bicubic(torch.cat([second, bias[:, None]], 1).view(1, *old, -1), new).view(len(mixer.fc2.bias), -1)
    assert torch.allclose(torch.cat([mixer.fc2.weight, mixer.fc2.bias[:, None]], 1), table, atol=1e-12)
    assert mixer(torch.randn(1, 7, 3, 6, dtype=torch.double)).shape == (1, 7, 3, 6)


@pytest.mark.parametrize(('name', 'depths'), [('raft_mlp_cifar10', (1, 1)), ('raft_org_mixer', (1,))])
def test_published_weights_load_into_a_model_for_another_size(name, depths):
    record = parity.load(RECORDS / f'{name}.json.gz')
    state = {k: torch.from_numpy(v) for k, v in parity.state_arrays(record).items()}
    # the embedding and one block of each level are enough
    state = {k: v for k, v in state.items() if not k.startswith('levels') or int(k.split('.')[3]) <= 2}

    def make(size: tuple[int, int] | None = None) -> nn.Module:
        return timm.create_model(name, depths=depths, img_size=size, num_classes=record['classes']).double()

    made, other, changed = make((160, 96)), make((192, 96)), make()
    made.load_state_dict(backbones.convert(made, state), strict=True)
    changed.load_state_dict(backbones.convert(changed, state), strict=True)
    changed.set_input_size((160, 96))
    values = changed.state_dict()
    assert all(torch.equal(value, values[key]) for key, value in made.state_dict().items())
    if name == 'raft_org_mixer':  # the number of positions alone does not say what its grid was
        with pytest.raises(ValueError, match='of another shape'):
            backbones.convert(other, made.state_dict())
    else:
        other.load_state_dict(backbones.convert(other, made.state_dict()), strict=True)


@torch.no_grad()
def test_nothing_is_resized_at_the_size_that_was_set(monkeypatch):
    model = timm.create_model('raft_mlp_cifar10', num_classes=3).eval()
    model.set_input_size((40, 64))

    def fail(*args):
        raise AssertionError('a map was resized')

    monkeypatch.setattr('backbones.layers.resample.cubic_taps', fail)
    monkeypatch.setattr(raft_mlp, 'cubic_matrix', fail)
    assert model(torch.randn(1, 3, 40, 64)).shape == (1, 3)
    with pytest.raises(AssertionError, match='resized'):
        model(torch.randn(1, 3, 64, 64))


@torch.no_grad()
def test_downstream_maps():
    """The published detectors take the map behind the first embedding, not that behind the first level."""
    x = torch.randn(1, 3, 64, 96)
    for name, levels in (('raft_mlp_cifar10', 2), ('raft_mlp_36', 37)):
        options = {} if levels == 2 else {'dims': (32,), 'raft_size': 2}
        model = timm.create_model(name, downstream=True, num_classes=3, **options).eval()
        maps = model.forward_intermediates(x, intermediates_only=True)
        assert len(maps) == levels
        assert torch.equal(maps[0], model.stem(x).permute(0, 3, 1, 2))
        plain = timm.create_model(name, num_classes=3, **options).eval()
        plain.load_state_dict(model.state_dict(), strict=True)
        assert torch.equal(plain(x), model(x))
        assert torch.equal(plain.forward_intermediates(x, intermediates_only=True)[-1], maps[-1])
        first = timm.create_model(name, features_only=True, downstream=True, out_indices=(0,), **options).eval()
        first.load_state_dict({f'model.{k}': v for k, v in model.state_dict().items() if k.startswith('stem')})
        assert torch.equal(first(x)[0], maps[0])


def test_rafts_divide_the_channels():
    with pytest.raises(ValueError, match='multiples of raft_size'):
        timm.create_model('raft_mlp_s', raft_size=3)
