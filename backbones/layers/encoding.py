"""Codes of an image over T time steps: (B, C, H, W) -> (T * B, C, H, W), the step major.

All but the direct code read brightness from 0 to 1: give them images that are not normalised (mean 0 and deviation 1).
They carry no gradient to the image.
"""

from collections.abc import Callable

import torch

from .precision import widened
from .spiking import check_steps

__all__ = ['ENCODINGS', 'check_encoding', 'encode']


def _direct(x: torch.Tensor, num_steps: int) -> list[torch.Tensor]:
    """S[t] = x"""
    return [x] * num_steps


def _rate(x: torch.Tensor, num_steps: int) -> list[torch.Tensor]:
    """S[t] = 1 where x > u, else 0, with u uniform in [0, 1) and drawn for each element and step, at every call"""
    if torch.compiler.is_exporting():
        raise ValueError(
            "encoding='rate' draws its spikes at random, so that a file of it could not be compared with the model: "
            "export a model with encoding='direct', 'ttfs' or 'phase'."
        )
    return [(x > torch.rand_like(x)).to(x.dtype) for _ in range(num_steps)]


def _ttfs(x: torch.Tensor, num_steps: int) -> list[torch.Tensor]:
    """S[i] = 1 / (i + 1) where T - i - 1 < x T <= T - i, i = 0 .. T - 1: one event, the earlier the brighter"""
    level = x * num_steps
    steps = range(num_steps)
    return [((level > num_steps - i - 1) & (level <= num_steps - i)).to(x.dtype) / (i + 1) for i in steps]


def _phase(x: torch.Tensor, num_steps: int) -> list[torch.Tensor]:
    """S[i] = 2^-j times bit 7 - j of trunc(256 x), j = i mod 8: the binary digits, the first one first

    Those of 1 lie in front of the point: as in STEP, pure white fires as little as black.
    """
    level = torch.trunc(256 * x)
    shifted = [torch.floor(level / 2 ** (7 - j)) for j in range(min(num_steps, 8))]
    digits = [(value - 2 * torch.floor(value / 2)) / 2**j for j, value in enumerate(shifted)]
    return [digits[i % 8] for i in range(num_steps)]


ENCODINGS: dict[str, Callable[[torch.Tensor, int], list[torch.Tensor]]] = {
    'direct': _direct,
    'rate': _rate,
    'ttfs': _ttfs,
    'phase': _phase,
}


def check_encoding(encoding: str) -> str:
    """The name of an encoding, if it is one.

    Raises:
        ValueError: It is not.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f'encoding must be one of {", ".join(ENCODINGS)}, but got {encoding!r}.')
    return encoding


def encode(x: torch.Tensor, num_steps: int, encoding: str = 'direct') -> torch.Tensor:
    """An image as the network sees it at each time step.

    Args:
        x: Images (B, C, H, W); with brightness from 0 to 1 for all but 'direct'.
        num_steps: Time steps T.
        encoding: A name in `ENCODINGS`: the image itself at each step ('direct'), spikes at random as often as it is
            bright ('rate'), a spike that comes the earlier the brighter it is ('ttfs'), its binary digits ('phase').

    Returns:
        (T * B, C, H, W) in the type of `x`.

    Raises:
        ValueError: There is no such encoding, or T is not a whole number of at least 1.

    Source: arXiv 2505.11151, section on input encodings; BrainCog-X/Brain-Cog@3998fd5:braincog/base/encoder/encoder.py
    """
    code = ENCODINGS[check_encoding(encoding)]
    return torch.cat(code(x if encoding == 'direct' else widened(x), check_steps(num_steps))).to(x.dtype)
