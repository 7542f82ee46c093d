"""DSM: its scan, its weights, its scale."""

import pytest
import timm
import torch
import torch.nn.functional as F

import backbones
from backbones.layers import band_shares, constants, cosine, inverse_cosine, zigzag_ranks
from backbones.models.dsm import Dsm, SpectrumMixer
from registry import families, has_public_code

SIZES = [(1, 1), (1, 5), (5, 1), (3, 3), (4, 6), (7, 5), (8, 8)]
DOUBLE = torch.zeros(1, dtype=torch.float64)


def walk(height: int, width: int) -> list[tuple[int, int]]:
    """The scan step by step: to the next place on the diagonal, or along the border to the next diagonal."""
    places, h, w, up = [(0, 0)], 0, 0, False
    if height * width == 1:
        return places
    h, w = (0, 1) if width > 1 else (1, 0)
    up = h > 0  # (0, 1) goes down to the left
    while len(places) < height * width:
        places.append((h, w))
        step = (h - 1, w + 1) if up else (h + 1, w - 1)
        if 0 <= step[0] < height and 0 <= step[1] < width:
            h, w = step
        else:  # along the border
            if up:
                h, w = (h, w + 1) if w + 1 < width else (h + 1, w)
            else:
                h, w = (h + 1, w) if h + 1 < height else (h, w + 1)
            up = not up
    return places


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_ranks_are_those_of_a_walk(size):
    ranks = zigzag_ranks(*size, torch.device('cpu')).reshape(size)
    assert [ranks[place].item() for place in walk(*size)] == list(range(size[0] * size[1]))
    if size == (3, 3):
        assert ranks.tolist() == [[0, 1, 5], [2, 4, 6], [3, 7, 8]]


@pytest.mark.parametrize('size', [*SIZES, (9, 8), (20, 13)], ids=str)
@pytest.mark.parametrize('bands', [1, 4, 7, 64])
def test_bands_are_pooled_and_given_back_over_the_same_bins(size, bands):
    count = size[0] * size[1]
    shares = band_shares(*size, bands, like=DOUBLE)[zigzag_ranks(*size, torch.device('cpu')).argsort()]
    values = torch.randn(2, bands, dtype=torch.float64)
    if count >= bands:
        members = [[rank for rank in range(count) if rank * bands // count == band] for band in range(bands)]
        assert torch.equal(values @ shares.T, F.interpolate(values[None], count, mode='nearest')[0])
    else:
        members = [[band * count // bands] for band in range(bands)]
        means = [values[:, [band for band in range(bands) if members[band] == [r]]].mean(1) for r in range(count)]
        torch.testing.assert_close(values @ shares.T, torch.stack(means, 1))
    scanned = torch.randn(2, count, dtype=torch.float64)
    pooled = torch.stack([scanned[:, ranks].mean(1) for ranks in members], 1)
    torch.testing.assert_close(scanned @ shares / shares.sum(0), pooled)


def test_large_matrices_are_not_kept(monkeypatch):
    """Training of a detector would pile up one for each size of its images."""
    monkeypatch.setattr(constants, 'LARGEST', 6 * 7 * 5)
    assert band_shares(6, 7, 5, like=DOUBLE) is band_shares(6, 7, 5, like=DOUBLE)
    assert band_shares(7, 7, 5, like=DOUBLE) is not band_shares(7, 7, 5, like=DOUBLE)


@pytest.mark.parametrize('bands', [4, 90])
def test_one_program_has_the_bands_of_all_sizes(bands):
    class Shares(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return band_shares(x.shape[0], x.shape[1], bands, like=x)

    free = ({0: torch.export.Dim('height', min=2), 1: torch.export.Dim('width', min=2)},)
    program = torch.export.export(Shares(), (torch.zeros(9, 11),), dynamic_shapes=free)
    for size in ((2, 2), (30, 4), (13, 13)):
        x = torch.zeros(size)
        assert torch.equal(program.module()(x), band_shares(*size, bands, like=x))


def lively(bands: int, hidden: int) -> SpectrumMixer:
    """A mixer in float64 whose bands weigh very differently."""
    torch.manual_seed(0)
    mixer = SpectrumMixer(bands, hidden).double()
    for p in mixer.parameters():
        torch.nn.init.normal_(p)
    return mixer


@torch.no_grad()
@pytest.mark.parametrize('size', [(5, 4), (7, 9), (2, 2), (1, 5), (1, 1)], ids=str)
def test_mixer_is_its_equation(size):
    """At least as many frequencies as the 6 bands, and fewer."""
    mixer, count = lively(6, 5), size[0] * size[1]
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    spectrum, expected = cosine(x), torch.empty_like(x)
    for b in range(2):
        for c in range(3):
            scan = torch.stack([spectrum[b, c][place] for place in walk(*size)])
            rows = [
                [r for r in range(count) if (r * 6 // count == k if count >= 6 else r == k * count // 6)]
                for k in range(6)
            ]
            pooled = torch.stack([scan[ranks].mean() for ranks in rows])
            g = mixer.generator
            y = (pooled - pooled.mean()) / (pooled.var(correction=0) + 1e-6).sqrt() * g.norm.weight + g.norm.bias
            y = g.fc2.weight @ F.gelu(g.fc1.weight @ y + g.fc1.bias) + g.fc2.bias
            weights = 6 * y.exp() / y.exp().sum()
            for rank, place in enumerate(walk(*size)):
                own = torch.stack([weights[k] for k in range(6) if rank in rows[k]]).mean()
                expected[b, c][place] = spectrum[b, c][place] * own
    torch.testing.assert_close(mixer(x), inverse_cosine(expected))


@torch.no_grad()
def test_a_single_position_passes_unchanged():
    """It has one frequency, which all bands share: their mean weight is 1, whatever was learnt."""
    x = torch.randn(2, 3, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(lively(64, 9)(x), x)


def test_gradients_reach_every_band():
    for size in ((3, 4), (1, 3)):
        mixer = lively(5, 4)
        x = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(mixer, x)
        mixer(x).square().sum().backward()
        assert all((p.grad != 0).any() for p in mixer.parameters())


@torch.no_grad()
def test_bands_are_weighted_in_full_precision_under_autocast(monkeypatch):
    """With constant logits the weights are 1, and whatever is left of an error is that of the products around them."""
    mixer = SpectrumMixer(8, 4)
    for p in mixer.generator.fc2.parameters():
        p.zero_()
    x = torch.randn(1, 2, 20, 20) + 50
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(mixer(x), x, atol=1e-3, rtol=0)
    seen = []
    generator = mixer.generator.forward
    monkeypatch.setattr(mixer.generator, 'forward', lambda pooled: seen.append(pooled) or generator(pooled))
    mixer(x)
    with torch.autocast('cpu', torch.bfloat16):
        mixer(x)
    assert torch.equal(*seen)


@torch.no_grad()
@pytest.mark.parametrize('name', families()['dsm'][:2])
def test_maps_keep_their_scale_through_the_depth(name):
    """A softmax over bands would shrink a map by their number in every block."""
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    ratios = []

    def watch(module, args, output):
        ratios.append(float(output.std() / args[0].std()))

    for module in model.modules():
        if isinstance(module, SpectrumMixer):
            module.register_forward_hook(watch)
    model(torch.randn(2, 3, 224, 224))
    assert len(ratios) == sum(len(stage.blocks) for stage in model.stages)
    assert all(0.9 < ratio < 1.1 for ratio in ratios)


@torch.no_grad()
def test_backends_give_the_same():
    torch.manual_seed(0)
    model, x = timm.create_model('dsm_tiny').eval(), torch.randn(1, 3, 100, 150)
    state, outputs = model.state_dict(), []
    for backend in ('fft', 'matmul'):
        other = timm.create_model('dsm_tiny', backend=backend).eval()
        other.load_state_dict(state)
        outputs.append(other(x))
    torch.testing.assert_close(*outputs)


@torch.no_grad()
def test_half_precision_stays_finite_on_large_images():
    """The lowest frequency of a large map is its mean times the root of its size."""
    torch.manual_seed(0)
    model, x = timm.create_model('dsm_tiny', depths=(1, 1, 1, 1), num_classes=5).eval(), torch.randn(1, 3, 1024, 1024)
    wanted = model(x)
    for dtype in (torch.bfloat16, torch.float16):
        found = model.to(dtype)(x.to(dtype)).float()
        model.float()
        assert (found - wanted).abs().max() <= 0.05 * wanted.abs().max()


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'backend': 'dct'}, "must be 'auto', 'fft' or 'matmul', but got 'dct'"),
        ({'dims': (8, 8)}, r'a width, a depth and an MLP ratio for each stage.*got dims=\(8, 8\)'),
        ({'bands': 0}, 'at least 1, but got .*bands=0'),
        ({'depths': (1, 0, 1, 1)}, r'depths=\(1, 0, 1, 1\)'),
    ],
)
def test_mistakes_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        Dsm(**arguments)


def test_own_checkpoints_alone():
    assert not any(has_public_code(name) for name in families()['dsm'])
    model = timm.create_model('dsm_tiny', depths=(1, 1, 1, 1))
    state = model.state_dict()
    converted = backbones.convert(model, {'state_dict': {f'module.{k}': v for k, v in state.items()}})
    assert converted.keys() == state.keys() and all(torch.equal(converted[k], v) for k, v in state.items())
    with pytest.raises(ValueError, match=r'no weights are published.*another model'):
        backbones.convert(model, timm.create_model('resnet10t').state_dict())
    with pytest.raises(ValueError, match=r'1 keys missing: stem\.proj\.weight'):
        backbones.convert(model, {k: v for k, v in state.items() if k != 'stem.proj.weight'})
    with pytest.raises(ValueError, match='of another shape'):
        backbones.convert(timm.create_model('dsm_tiny', depths=(1, 1, 1, 1), bands=32), state)
