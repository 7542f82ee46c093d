"""Two-dimensional Fourier and cosine transforms of maps, each in two equal ways.

The fast transform costs O(log n) a value and serves large maps. Products with constant real matrices are faster on
small maps, and are all that an exported graph may hold: one matrix for a whole small map, else one for each side.
Every transform is orthonormal, takes sides of any length, and computes in float32 at least: half precision is widened,
also under autocast, and the result stays wide.

Shapes: B batch, C channels, H and W height and width of the map, K = floor(W / 2) + 1 frequencies along the width that
a real map has. A spectrum is real: (B, C, 2 H, K), its real part above its imaginary part.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch

from .constants import constant, is_eager
from .precision import full_precision, widened

__all__ = ['Backend', 'check_backend', 'cosine', 'fourier', 'inverse_cosine', 'inverse_fourier']

Backend = Literal['auto', 'fft', 'matmul']

CROSSOVER = 196  # positions: the largest map whose Fourier transform 'auto' gives to matrices, one for the whole map
COSINE_SIDE = 112  # positions: the longest side of a map whose cosine transform 'auto' gives to matrices
LARGEST = 256  # MiB: what the matrices of one transform may take


def check_backend(backend: str) -> None:
    """Refuse a backend that does not exist.

    Raises:
        ValueError: It is none of 'auto', 'fft', 'matmul'.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be 'auto', 'fft' or 'matmul', but got {backend!r}.")


def fourier(x: torch.Tensor, backend: Backend = 'auto') -> torch.Tensor:
    """Discrete Fourier transform over height and width.

    X[h, k] = sum_ij x[i, j] exp(-2 pi i (h i / H + k j / W)) / sqrt(H W)

    Args:
        x: Real map (B, C, H, W).
        backend: 'fft', 'matmul', or 'auto': matrices while exporting and for maps up to `CROSSOVER`.

    Returns:
        Spectrum (B, C, 2 H, K).

    Raises:
        ValueError: The backend does not exist, or its matrices would be larger than `LARGEST`.
    """
    height, width = x.shape[-2:]
    return _run(x, backend, (height, width), (2 * height, width // 2 + 1), _fast_fourier, _fourier_sides, _is_small)


def inverse_fourier(spectrum: torch.Tensor, width: Any, backend: Backend = 'auto') -> torch.Tensor:
    """Real map of a spectrum, which need not be that of a real map.

    Over the rows it is the complex inverse; over the columns a real one, which leaves out the imaginary part of the
    first and, for an even width, of the last frequency (torch's `irfft2`).

    Args:
        spectrum: Spectrum (B, C, 2 H, K).
        width: Columns W of the map, 2 K - 2 or 2 K - 1.
        backend: As in `fourier`.

    Returns:
        Map (B, C, H, W).

    Raises:
        ValueError: As in `fourier`, or the width does not belong to K frequencies.
    """
    height, frequencies = spectrum.shape[-2] // 2, spectrum.shape[-1]
    if isinstance(width, int) and isinstance(frequencies, int) and width // 2 + 1 != frequencies:
        raise ValueError(
            f'A spectrum of {frequencies} columns belongs to a map of {2 * frequencies - 2} or {2 * frequencies - 1} '
            f'columns, but width={width} was given.'
        )
    if isinstance(spectrum.shape[-2], int) and spectrum.shape[-2] % 2:
        raise ValueError(
            f'A spectrum must have an even number of rows, real parts and then imaginary ones, but got '
            f'{spectrum.shape[-2]}.'
        )
    size = height, width
    return _run(spectrum, backend, size, size, _fast_inverse_fourier, _inverse_fourier_sides, _is_small)


def cosine(x: torch.Tensor, backend: Backend = 'auto') -> torch.Tensor:
    """Cosine transform over height and width (the second kind, DCT-II).

    X[h, k] = a_h b_k sum_ij x[i, j] cos(pi h (i + 1/2) / H) cos(pi k (j + 1/2) / W),
    a_0 = sqrt(1 / H), else sqrt(2 / H); b likewise

    Args:
        x: Real map (B, C, H, W).
        backend: As in `fourier`, but 'auto' takes matrices up to sides of `COSINE_SIDE`.

    Returns:
        Spectrum (B, C, H, W), real.

    Raises:
        ValueError: As in `fourier`.
    """
    size = x.shape[-2], x.shape[-1]
    return _run(x, backend, size, size, _fast_cosine, _cosine_sides, _is_short)


def inverse_cosine(spectrum: torch.Tensor, backend: Backend = 'auto') -> torch.Tensor:
    """Inverse of `cosine`, which is its transpose.

    Args:
        spectrum: Spectrum (B, C, H, W).
        backend: As in `cosine`.

    Returns:
        Map (B, C, H, W).

    Raises:
        ValueError: As in `fourier`.
    """
    size = spectrum.shape[-2], spectrum.shape[-1]
    return _run(spectrum, backend, size, size, _fast_inverse_cosine, _inverse_cosine_sides, _is_short)


# ---- how to run ------------------------------------------------------------------------------------------------


Size = tuple[Any, Any]  # rows and columns
Way = Callable[[torch.Tensor, Size], torch.Tensor]  # a transform, given the size of its maps


def _run(
    x: torch.Tensor, backend: str, size: Size, shape: Size, fast: Way, sides: Way, suits: Callable[[Size], bool]
) -> torch.Tensor:
    """A transform of maps of one size, which gives (B, C, *shape), in the way that the backend asks for.

    `suits` says whether 'auto' gives a map of that size to matrices.
    """
    with full_precision(x):
        x = widened(x)
        if _takes_fft(backend, size, suits):
            return fast(x, size)
        if not is_eager(x) or not _is_small(size):
            return sides(x, size)
        matrix = constant(_of_units, sides, tuple(x.shape[-2:]), size, like=x)
        return (x.flatten(2) @ matrix).unflatten(2, shape)


def _is_small(size: Size) -> bool:
    return size[0] * size[1] <= CROSSOVER


def _is_short(size: Size) -> bool:
    return max(size) <= COSINE_SIDE


def _takes_fft(backend: str, size: Size, suits: Callable[[Size], bool]) -> bool:
    check_backend(backend)
    if torch.compiler.is_exporting():
        if backend == 'fft':
            raise ValueError("backend='fft' cannot be exported, since runtimes lack it: use 'auto' or 'matmul'.")
        if backend == 'auto':
            return False
    if backend == 'fft':
        return True
    if backend == 'auto':
        return not suits(size)
    height, width = size
    longest = max(height, width)
    needed = 16 * longest * longest // 2**20  # a complex matrix as four real ones of four bytes
    if isinstance(needed, int) and needed > LARGEST:
        raise ValueError(
            f"backend='matmul' needs matrices of at most {LARGEST} MiB, but a map of {height} x {width} would take "
            f"{needed} MiB: use backend='fft' or a smaller map."
        )
    return False


# ---- by matrices -----------------------------------------------------------------------------------------------


def _of_units(sides: Way, shape: Size, size: Size, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """What `sides` makes of each map that is 1 at one position and 0 elsewhere, flattened."""
    count = shape[0] * shape[1]
    return sides(torch.eye(count, dtype=dtype, device=device).view(count, 1, *shape), size).flatten(1)


def _fourier_sides(x: torch.Tensor, size: Size) -> torch.Tensor:
    cosines, sines = constant(_half_turns, size[1], like=x)  # W K
    down, up = constant(_stacked_turns, size[0], like=x)  # 2H H
    return down @ (x @ cosines) + up @ (x @ sines)


def _inverse_fourier_sides(spectrum: torch.Tensor, size: Size) -> torch.Tensor:
    across, over = constant(_side_turns, size[0], like=spectrum)  # H 2H
    cosines, sines = constant(_half_inverse, size[1], like=spectrum)  # K W
    return (across @ spectrum) @ cosines + (over @ spectrum) @ sines


def _cosine_sides(x: torch.Tensor, size: Size) -> torch.Tensor:
    return constant(_cosines, size[0], like=x)[1] @ x @ constant(_cosines, size[1], like=x)[0]


def _inverse_cosine_sides(spectrum: torch.Tensor, size: Size) -> torch.Tensor:
    return constant(_cosines, size[0], like=spectrum)[0] @ spectrum @ constant(_cosines, size[1], like=spectrum)[1]


# ---- matrices --------------------------------------------------------------------------------------------------


def _angles(length: Any, rows: torch.Tensor, columns: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """2 pi (r c mod n) / n, the product reduced in whole numbers; the length as a tensor suits symbols."""
    n = torch.arange(length, length + 1, device=rows.device)
    return (rows[:, None] * columns % n).to(dtype) * (2 * math.pi / n.to(dtype))


def _turns(length: Any, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin of 2 pi i h / n, both (n, n) and over sqrt(n)."""
    index = torch.arange(length, device=device)
    angle = _angles(length, index, index, dtype)
    norm = torch.ones_like(index).sum().to(dtype).rsqrt()
    return angle.cos() * norm, angle.sin() * norm


def _stacked_turns(length: Any, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """What a real and an imaginary map add to a spectrum over the rows: two matrices (2 n, n).

    (c - i s)(p + i q):  [c; -s] p + [s; c] q
    """
    c, s = _turns(length, dtype, device)
    return torch.cat([c, -s]), torch.cat([s, c])


def _side_turns(length: Any, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """What the rows [re; im] of a spectrum give as real and as imaginary map: two matrices (n, 2 n).

    (c + i s)(re + i im):  [c, -s], [s, c]
    """
    c, s = _turns(length, dtype, device)
    return torch.cat([c, -s], 1), torch.cat([s, c], 1)


def _half_turns(length: Any, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and -sin of 2 pi j k / n over sqrt(n) for the frequencies k of a real row: both (n, K)."""
    index, frequency = torch.arange(length, device=device), torch.arange(length // 2 + 1, device=device)
    angle = _angles(length, index, frequency, dtype)
    norm = torch.ones_like(index).sum().to(dtype).rsqrt()
    return angle.cos() * norm, angle.sin() * -norm


def _half_inverse(length: Any, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """w cos and -w sin of 2 pi j k / n over sqrt(n), both (K, n); w = 1 where a frequency is its own mirror, else 2."""
    index, frequency = torch.arange(length, device=device), torch.arange(length // 2 + 1, device=device)
    angle = _angles(length, frequency, index, dtype)
    n = torch.arange(length, length + 1, device=device)
    alone = (frequency == 0) | (2 * frequency == n)
    weight = ((2 - alone.to(dtype)) * n.to(dtype).rsqrt())[:, None]
    return angle.cos() * weight, angle.sin() * -weight


def _cosines(length: Any, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Orthonormal cosine matrix as (n positions, n frequencies), and the other way round."""
    index = torch.arange(length, device=device)
    n = torch.arange(length, length + 1, device=device)

    def matrix(rows: torch.Tensor, columns: torch.Tensor, frequency: torch.Tensor) -> torch.Tensor:
        """cos(pi k (2 i + 1) / 2 n) for r c = k (2 i + 1), whose period is 4 n."""
        angle = (rows[:, None] * columns % (4 * n)).to(dtype) * (math.pi / (2 * n.to(dtype)))
        return angle.cos() * ((2 - (frequency == 0).to(dtype)) / n.to(dtype)).sqrt()

    return matrix(2 * index + 1, index, index), matrix(index, 2 * index + 1, index[:, None])


# ---- by the fast Fourier transform -----------------------------------------------------------------------------


def _fast_fourier(x: torch.Tensor, size: Size) -> torch.Tensor:
    z = torch.fft.rfft2(x, norm='ortho')
    return torch.cat([z.real, z.imag], 2)


def _fast_inverse_fourier(spectrum: torch.Tensor, size: Size) -> torch.Tensor:
    real, imaginary = spectrum.split(size[0], 2)
    return torch.fft.irfft2(torch.complex(real, imaginary), s=size, norm='ortho')


def _fast_cosine(x: torch.Tensor, size: Size) -> torch.Tensor:
    return _cosine_row(_cosine_row(x).mT).mT


def _fast_inverse_cosine(spectrum: torch.Tensor, size: Size) -> torch.Tensor:
    return _inverse_cosine_row(_inverse_cosine_row(spectrum).mT).mT


def _cosine_row(x: torch.Tensor) -> torch.Tensor:
    """Cosine transform along the last axis by one real Fourier transform of the same length.

    Source: Makhoul, A fast cosine transform in one and two dimensions, IEEE TASSP 28, 1980.
    """
    n = x.shape[-1]
    z = torch.fft.rfft(torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], -1))
    z = z * _twiddle(n, z)
    y = torch.cat([z.real, -z.imag[..., 1 : (n + 1) // 2].flip(-1)], -1)
    return y * _scales(n, y)


def _inverse_cosine_row(spectrum: torch.Tensor) -> torch.Tensor:
    """Inverse of `_cosine_row`."""
    n = spectrum.shape[-1]
    y = spectrum / _scales(n, spectrum)
    mirror = torch.cat([torch.zeros_like(y[..., :1]), y[..., 1:].flip(-1)], -1)  # y[n - k], 0 for k = 0
    half = n // 2 + 1
    z = torch.complex(y[..., :half], -mirror[..., :half])
    v = torch.fft.irfft(z * _twiddle(n, z).conj(), n)
    even = (n + 1) // 2
    x = torch.empty_like(v)
    x[..., ::2], x[..., 1::2] = v[..., :even], v[..., even:].flip(-1)
    return x


def _twiddle(n: int, z: torch.Tensor) -> torch.Tensor:
    """exp(-i pi k / 2 n) for the frequencies of z."""
    angle = torch.arange(z.shape[-1], device=z.device, dtype=z.real.dtype) * (-math.pi / (2 * n))
    return torch.complex(angle.cos(), angle.sin())


def _scales(n: int, y: torch.Tensor) -> torch.Tensor:
    """Factors that make the cosine transform orthonormal: sqrt(1 / n), then sqrt(2 / n)."""
    scales = torch.full((n,), math.sqrt(2 / n), device=y.device, dtype=y.dtype)
    scales[0] = math.sqrt(1 / n)
    return scales
