"""DSM: its scan, its weights, its scale."""

import pytest
import timm
import torch

from backbones.layers import band_matrices, cosine, inverse_cosine, zigzag_ranks
from backbones.models.dsm import Dsm, SpectrumMixer
from registry import families

SIZES = [(1, 1), (1, 5), (5, 1), (3, 3), (4, 6), (7, 5), (8, 8)]


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


@pytest.mark.parametrize('size', [(3, 3), (4, 6), (9, 8), (20, 13)], ids=str)
@pytest.mark.parametrize('bands', [4, 64])
def test_bands_are_pooled_and_given_back(size, bands):
    count = size[0] * size[1]
    pool, back = band_matrices(*size, bands, torch.float64, torch.device('cpu'))
    scanned = torch.randn(2, count, dtype=torch.float64)
    flat = scanned[:, zigzag_ranks(*size, torch.device('cpu'))]
    torch.testing.assert_close(flat @ pool, torch.nn.functional.adaptive_avg_pool1d(scanned, bands))
    values = torch.randn(2, bands, dtype=torch.float64)
    nearest = torch.stack([values[:, rank * bands // count] for rank in range(count)], 1)
    assert torch.equal(values @ back, nearest[:, zigzag_ranks(*size, torch.device('cpu'))])


def test_mixer_is_its_equation():
    torch.manual_seed(0)
    mixer = SpectrumMixer(6, 5).double()
    for p in mixer.parameters():
        torch.nn.init.normal_(p)
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    spectrum, expected = cosine(x), torch.empty_like(x)
    for b in range(2):
        for c in range(3):
            scan = torch.stack([spectrum[b, c][place] for place in walk(5, 4)])
            pooled = torch.nn.functional.adaptive_avg_pool1d(scan[None], 6)[0]
            g = mixer.generator
            y = (pooled - pooled.mean()) / (pooled.var(correction=0) + 1e-6).sqrt() * g.norm.weight + g.norm.bias
            y = g.fc2.weight @ torch.nn.functional.gelu(g.fc1.weight @ y + g.fc1.bias) + g.fc2.bias
            weights = 6 * y.exp() / y.exp().sum()
            for rank, place in enumerate(walk(5, 4)):
                expected[b, c][place] = spectrum[b, c][place] * weights[rank * 6 // 20]
    torch.testing.assert_close(mixer(x), inverse_cosine(expected))


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
