"""Spiking neurons over T time steps, which lie folded in the batch, the step major: (T * B, ...).

A neuron charges its membrane with its input, fires where the charge reaches the threshold, and is reset. The membrane
starts at rest in every call and nothing is left behind, so that no reset between batches is needed. All else of a
network sees T * B images; a neuron alone knows of time.

Neurons compute in float32 under autocast and in models of half precision: a charge that is rounded to eight or eleven
bits crosses the threshold at another step, and one moved spike moves others behind it. In the bundled Max-Former,
neurons of float16 alone, all else in float32, move 17 spikes for 100 that fire and change a tenth of the answers, those
of bfloat16 26 and an eighth, at the same accuracy (docs/spiking.md).
"""

import math
import operator

import torch
from torch import nn

from .free import free_reshape
from .lif import has_kernels, lif
from .parts import may_run_in_parts
from .precision import full_precision, widened
from .surrogate import fire, surrogate_gradient

__all__ = ['IF', 'LIF', 'Neuron', 'Repeat', 'TernaryIF', 'check_steps', 'clip_steps', 'mean_steps']


def check_steps(num_steps: int) -> int:
    """The number of time steps, if it is one.

    Raises:
        ValueError: T is not a whole number of at least 1.
    """
    whole = hasattr(num_steps, '__index__') and not isinstance(num_steps, bool)
    if not whole or operator.index(num_steps) < 1:
        raise ValueError(f'num_steps, the time steps T, must be a whole number of at least 1, but got {num_steps!r}.')
    return operator.index(num_steps)


def clip_steps(model: nn.Module) -> tuple[int, ...]:
    """Axes of an input between batch and channels: (T,) where a model, or one inside of it, takes clips, else ()."""
    steps = (int(module.num_steps) for module in model.modules() if getattr(module, 'clips', False))  # type: ignore[arg-type]
    return next(((num_steps,) for num_steps in steps), ())


def mean_steps(x: torch.Tensor, num_steps: int) -> torch.Tensor:
    """Average over time: (T * B, ...) -> (B, ...)."""
    if num_steps == 1:
        return x
    if not torch.compiler.is_exporting():
        return x.unflatten(0, (num_steps, -1)).mean(0)
    shape = x.shape[0] // num_steps, *x.shape[1:]  # rows, since four axes are what deployment runtimes are made for
    return free_reshape(free_reshape(x, num_steps, math.prod(shape)).mean(0), *shape)


class Repeat(nn.Module):
    """The same map at every time step: what is constant in time, as the first layer of an image is, runs once.

    Args:
        num_steps: Time steps T.

    Shape:
        (B, ...) -> (T * B, ...)
    """

    def __init__(self, num_steps: int) -> None:
        super().__init__()
        self.set_num_steps(num_steps)

    def set_num_steps(self, num_steps: int) -> None:
        """Repeat another number of times from now on."""
        self.num_steps = check_steps(num_steps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat(self.num_steps, *(1,) * (x.ndim - 1)) if self.num_steps > 1 else x

    def extra_repr(self) -> str:
        return f'num_steps={self.num_steps}'


class Neuron(nn.Module):
    """Base of all neurons: charge, fire and reset, step by step.

    A neuron of its own overrides `rest`, `charge`, `spike` and `reset`, or `steps` as a whole.

    Args:
        num_steps: Time steps T.
        v_threshold: Charge at which the neuron fires.
        surrogate: Name of the surrogate gradient.
        alpha: Its sharpness.

    Shape:
        (T * B, ...) -> (T * B, ...), in the type of the input.

    Raises:
        ValueError: T is not a whole number of at least 1, alpha is not positive, or the surrogate is unknown.
    """

    def __init__(
        self, num_steps: int = 4, v_threshold: float = 1.0, surrogate: str = 'sigmoid', alpha: float = 4.0
    ) -> None:
        super().__init__()
        surrogate_gradient(surrogate)
        if not alpha > 0:
            raise ValueError(f'alpha, the sharpness of the surrogate gradient, must be more than 0, but got {alpha}.')
        self.v_threshold, self.surrogate, self.alpha = v_threshold, surrogate, alpha
        self.num_steps = check_steps(num_steps)

    def set_num_steps(self, num_steps: int) -> None:
        """Take sequences of another length from now on.

        Raises:
            ValueError: T is not a whole number of at least 1.
        """
        self.num_steps = check_steps(num_steps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_exporting() and x.shape[0] % self.num_steps:
            raise ValueError(
                f'A neuron of {self.num_steps} time steps needs (T * B, ...) with a first axis that {self.num_steps} '
                f'divides, but got shape {tuple(x.shape)}: repeat or stack the steps in front of the batch.'
            )
        with full_precision(x):
            return self.run(widened(x)).to(x.dtype)

    def run(self, x: torch.Tensor) -> torch.Tensor:
        """`forward` in full precision."""
        if self.num_steps == 1:
            return self.steps((x,))[0]
        if torch.compiler.is_exporting():  # vectors, since four axes are what deployment runtimes are made for
            return torch.stack(self.steps(x.reshape(self.num_steps, -1).unbind(0))).reshape(x.shape)
        return torch.cat(self.steps(x.unflatten(0, (self.num_steps, -1)).unbind(0)))

    def steps(self, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        """Spikes of each step from the inputs of each step."""
        spikes = []
        v = self.rest(inputs[0])
        for x in inputs:
            h = self.charge(v, x)
            s = self.spike(h)
            v = self.reset(h, s)
            spikes.append(s)
        return spikes

    def rest(self, x: torch.Tensor) -> torch.Tensor:
        """Membrane before the first step, for inputs like `x`."""
        return torch.zeros_like(x)

    def charge(self, v: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Charge H[t] from the membrane V[t - 1] and the input X[t]."""
        raise NotImplementedError

    def spike(self, h: torch.Tensor) -> torch.Tensor:
        """Spikes S[t] from the charge."""
        return fire(h - self.v_threshold, self.surrogate, self.alpha)

    def reset(self, h: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        """Membrane V[t] after the spikes."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f'num_steps={self.num_steps}, v_threshold={self.v_threshold}'


class IF(Neuron):
    """Integrate-and-fire neuron, which does not leak.

    H[t] = V[t-1] + X[t]
    S[t] = 1 where H[t] >= threshold (with `strict` where H[t] > threshold), else 0
    V[t] = (1 - S[t]) H[t] + S[t] V_reset     (hard reset)
    V[t] = H[t] - S[t] threshold              (soft reset, v_reset=None)

    V[0] is `v_reset`, or 0 with a soft reset.

    Args:
        num_steps: Time steps T.
        v_threshold: Charge at which the neuron fires.
        v_reset: Membrane after a spike; None lowers it by the threshold instead.
        detach_reset: Whether the reset passes no gradient to the spikes.
        surrogate: Name of the surrogate gradient.
        alpha: Its sharpness.
        strict: Whether a charge that equals the threshold does not fire, as in BrainCog's.

    Source: fangwei123456/spikingjelly@0.0.0.0.12:clock_driven/neuron.py:MultiStepIFNode
    """

    def __init__(
        self,
        num_steps: int = 4,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        detach_reset: bool = True,
        surrogate: str = 'sigmoid',
        alpha: float = 4.0,
        strict: bool = False,
    ) -> None:
        super().__init__(num_steps, v_threshold, surrogate, alpha)
        self.v_reset, self.detach_reset, self.strict = v_reset, detach_reset, strict

    def rest(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x, self.v_reset or 0.0)

    def charge(self, v: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return v + x

    def spike(self, h: torch.Tensor) -> torch.Tensor:
        if self.strict:
            return 1 - fire(self.v_threshold - h, self.surrogate, self.alpha)
        return super().spike(h)

    def reset(self, h: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        s = s.detach() if self.detach_reset else s
        if self.v_reset is None:
            return h - s * self.v_threshold
        return h - s * (h - self.v_reset) if self.v_reset else h - s * h


def check_tau(tau: float) -> float:
    """The time constant of a membrane, in steps, if it is one.

    Raises:
        ValueError: It is not more than 1.
    """
    if not tau > 1:
        raise ValueError(f'tau must be more than 1 step, but got {tau}: a neuron that forgets nothing is an IF.')
    return tau


class LIF(IF):
    """Leaky integrate-and-fire neuron.

    H[t] = V[t-1] + (X[t] - (V[t-1] - V_rest)) / tau     (with `decay_input`)
    H[t] = V[t-1] - (V[t-1] - V_rest) / tau + X[t]       (without)

    It fires and is reset as `IF`; V_rest is V[0].

    Args:
        num_steps: Time steps T.
        tau: Time constant of the membrane, in steps, more than 1.
        v_threshold: Charge at which the neuron fires.
        v_reset: Membrane after a spike; None lowers it by the threshold instead.
        decay_input: Whether the input is divided by tau too.
        detach_reset: Whether the reset passes no gradient to the spikes.
        surrogate: Name of the surrogate gradient.
        alpha: Its sharpness.

    Raises:
        ValueError: tau is not more than 1, or an argument of `Neuron` cannot be.

    Source: fangwei123456/spikingjelly@0.0.0.0.12:clock_driven/neuron.py:MultiStepLIFNode
    """

    def __init__(
        self,
        num_steps: int = 4,
        tau: float = 2.0,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        decay_input: bool = True,
        detach_reset: bool = True,
        surrogate: str = 'sigmoid',
        alpha: float = 4.0,
    ) -> None:
        super().__init__(num_steps, v_threshold, v_reset, detach_reset, surrogate, alpha)
        self.tau, self.decay_input = check_tau(tau), decay_input

    def run(self, x: torch.Tensor) -> torch.Tensor:
        plain = type(self) is LIF and self.v_reset == 0 and self.decay_input and self.detach_reset
        if plain and (may_run_in_parts(x) or (not torch.compiler.is_compiling() and has_kernels(x, self.surrogate))):
            return lif(x, self.num_steps, self.tau, self.v_threshold, self.surrogate, self.alpha)
        return super().run(x)

    def leak(self, v: torch.Tensor) -> torch.Tensor:
        """What of `v` leaks in a step."""
        return v / self.tau

    def charge(self, v: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        rest = self.v_reset or 0.0
        away = v - rest if rest else v
        return v + self.leak(x - away) if self.decay_input else v - self.leak(away) + x


class TernaryIF(Neuron):
    """Integrate-and-fire neuron that fires +1 at one threshold and -1 at another, and does not leak.

    H[t] = V[t-1] + X[t];  S[t] = [H >= threshold] - [H <= -negative];  V[t] = (1 - |S[t]|) H[t]

    Args:
        num_steps: Time steps T.
        v_threshold: Charge for +1.
        negative: Charge for -1, without its sign.
        detach_reset: Whether the reset passes no gradient to the spikes.
        surrogate: Name of the surrogate gradient.
        alpha: Its sharpness.

    Source: bic-L/Spiking-Wavelet-Transformer@main:module/neuron.py:MultiStepNegIFNode
    """

    def __init__(
        self,
        num_steps: int = 4,
        v_threshold: float = 1.0,
        negative: float = 0.501,
        detach_reset: bool = False,
        surrogate: str = 'sigmoid',
        alpha: float = 4.0,
    ) -> None:
        super().__init__(num_steps, v_threshold, surrogate, alpha)
        self.negative, self.detach_reset = negative, detach_reset

    def charge(self, v: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return v + x

    def spike(self, h: torch.Tensor) -> torch.Tensor:
        return super().spike(h) - fire(-h - self.negative, self.surrogate, self.alpha)

    def reset(self, h: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return h - (s.detach() if self.detach_reset else s).abs() * h
