"""Spectral transforms: their definitions, in both ways to run them."""

import math
from typing import Any

import pytest
import torch

from backbones.layers import spectral
from backbones.layers.spectral import cosine, fourier, inverse_cosine, inverse_fourier

SIZES = [(1, 1), (2, 2), (3, 4), (7, 7), (8, 5), (14, 9), (16, 16), (33, 40)]
BACKENDS = ['fft', 'matmul']


def image(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * 100 + width)
    return torch.randn(2, 3, height, width, dtype=torch.float64, generator=generator)


def waves(n: int) -> torch.Tensor:
    """exp(-2 pi i h i / n) / sqrt(n), value by value."""
    return torch.tensor(
        [[complex(math.cos(a := -2 * math.pi * h * i / n), math.sin(a)) for i in range(n)] for h in range(n)],
        dtype=torch.complex128,
    ) / math.sqrt(n)


def cosines(n: int) -> torch.Tensor:
    """Rows of the orthonormal second cosine transform, value by value."""
    rows = [
        [math.cos(math.pi * h * (i + 0.5) / n) * math.sqrt((1 if h == 0 else 2) / n) for i in range(n)]
        for h in range(n)
    ]
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('size', SIZES, ids=str)
def test_fourier_is_its_definition(size, backend):
    x = image(*size)
    expected = waves(size[0]) @ x.to(torch.complex128) @ waves(size[1])[:, : size[1] // 2 + 1]
    found = fourier(x, backend)
    assert found.shape == (2, 3, 2 * size[0], size[1] // 2 + 1)
    torch.testing.assert_close(found, torch.cat([expected.real, expected.imag], 2), atol=1e-13, rtol=0)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('size', SIZES, ids=str)
def test_inverse_fourier_of_any_spectrum(size, backend):
    """Also of one that no real map has: imaginary parts of columns that are their own mirror are left out."""
    height, width = size
    z = torch.complex(image(height, width // 2 + 1), image(height, width // 2 + 1).flip(0))
    rows = waves(height).conj() @ z
    expected = torch.zeros(2, 3, height, width, dtype=torch.float64)
    for k in range(width // 2 + 1):
        weight = 1 if 2 * k in (0, width) else 2
        for n in range(width):
            angle = 2 * math.pi * k * n / width
            value = rows[..., k].real * math.cos(angle) - rows[..., k].imag * math.sin(angle)
            expected[..., n] += weight * value / math.sqrt(width)
    found = inverse_fourier(torch.cat([z.real, z.imag], 2), width, backend)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(inverse_fourier(fourier(image(*size), backend), width, backend), image(*size))


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('size', SIZES, ids=str)
def test_cosine_is_its_definition(size, backend):
    x = image(*size)
    expected = cosines(size[0]) @ x @ cosines(size[1]).T
    torch.testing.assert_close(cosine(x, backend), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(inverse_cosine(expected, backend), x, atol=1e-12, rtol=0)


@pytest.mark.parametrize('backend', BACKENDS)
def test_gradients(backend):
    x = image(5, 4)[:1, :1].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: fourier(x, backend), x)
    assert torch.autograd.gradcheck(lambda x: inverse_fourier(x, 7, backend), image(6, 4)[:1, :1].requires_grad_())
    assert torch.autograd.gradcheck(lambda x: cosine(x, backend), x)
    assert torch.autograd.gradcheck(lambda x: inverse_cosine(x, backend), x)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_widened(backend, dtype):
    x = image(9, 12).to(dtype)
    pairs = [(fourier, x), (lambda x, b: inverse_fourier(x, 22, b), x[..., :8, :]), (cosine, x), (inverse_cosine, x)]
    for transform, given in pairs:
        wide = transform(given.float(), backend)
        assert torch.equal(transform(given, backend), wide) and wide.dtype == torch.float32
        with torch.autocast('cpu', torch.bfloat16):
            assert torch.equal(transform(given.float(), backend), wide)


def test_auto_goes_by_the_size(monkeypatch):
    taken = []
    rfft, rfft2 = torch.fft.rfft, torch.fft.rfft2
    monkeypatch.setattr(
        torch.fft, 'rfft2', lambda *args, **kwargs: taken.append(args[0].shape) or rfft2(*args, **kwargs)
    )
    most = spectral.CROSSOVER
    for height, width in [(1, most), (most, 1), (1, most + 1), (most // 2 + 1, 2)]:
        fourier(image(height, width))
    assert [tuple(shape[2:]) for shape in taken] == [(1, most + 1), (most // 2 + 1, 2)]
    monkeypatch.setattr(torch.fft, 'rfft', lambda *args, **kwargs: taken.append(args[0].shape) or rfft(*args, **kwargs))
    taken.clear()
    longest = spectral.COSINE_SIDE
    for height, width in [(longest, longest), (1, longest), (longest + 1, 2), (1, longest + 1)]:
        cosine(image(height, width))
    assert {max(shape[2:]) for shape in taken} == {longest + 1}
    assert len(taken) == 4  # a row and a column for each map


def test_exported_programs_hold_no_fourier_operator():
    class Both(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return inverse_cosine(cosine(inverse_fourier(fourier(x), x.shape[3])))

    free = ({2: torch.export.Dim('height', min=2), 3: torch.export.Dim('width', min=2)},)
    program = torch.export.export(Both(), (torch.randn(2, 3, 40, 50),), dynamic_shapes=free)
    assert not [node for node in program.graph.nodes if 'fft' in str(node.target)]
    for sides in ((7, 12), (41, 30)):
        x = torch.randn(2, 3, *sides)
        torch.testing.assert_close(program.module()(x), x)


def test_matrices_are_kept_for_eager_calls_alone():
    x = torch.randn(1, 1, 12, 13)
    with torch.inference_mode():
        fourier(x, 'matmul')
    fourier(x.requires_grad_(), 'matmul').sum().backward()  # what inference mode made could not be saved for this
    assert fourier(x.to('meta'), 'matmul').device.type == 'meta'
    assert fourier(x.double(), 'matmul').dtype == torch.float64


class Fft(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return fourier(x, 'fft')


def test_mistakes_are_named():
    x, tall = image(4, 4), torch.empty(1, 1, 8192, 4, device='meta')
    transforms: list[Any] = [fourier, cosine, inverse_cosine]
    for transform in transforms:
        with pytest.raises(ValueError, match=r"must be 'auto', 'fft' or 'matmul', but got 'dft'"):
            transform(x, 'dft')
        with pytest.raises(ValueError, match=r'at most 256 MiB, but a map of 8192 x 4 would take 1024 MiB'):
            transform(tall, 'matmul')
    with pytest.raises(ValueError, match=r'a map of 8192 x 6 would take 1024 MiB'):
        inverse_fourier(torch.empty(1, 1, 16384, 4, device='meta'), 6, 'matmul')
    with pytest.raises(ValueError, match='6 or 7 columns, but width=8'):
        inverse_fourier(x, 8)
    with pytest.raises(ValueError, match='even number of rows'):
        inverse_fourier(image(5, 4), 6)
    with pytest.raises(ValueError, match="use 'auto' or 'matmul'"):
        torch.export.export(Fft(), (x,))
