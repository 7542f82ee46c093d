"""What a spiking network computes on given pictures, and what that would cost: operations counted, energy estimated.

Every product of a convolution, a linear layer or a matrix product is looked at with the values that it is given:

- an operand of spikes (all 0 and 1, or -1, 0 and 1): the product is an accumulation of the other operand wherever a
  spike is, so that accumulations = dense multiply-adds x rate, the rate of the sparser one if both are spikes;
- an operand of other whole numbers (spikes that were added up): a multiply-add like any other, or, on request, as many
  accumulations as the number says;
- anything else: a multiply-add.

Dense multiply-adds are those of all time steps together; what runs once for all of them, as the first convolution of
an image does here, counts once. Normalisation is free (it folds), and so are neurons, sums, pooling, biases and
products of one spike with another position by position.

Energy is that of arithmetic at 45 nm, and of the membranes, which are read and written in every step:

    spiking   E = e_mac MAC + e_ac AC + e_bit 2 T b_v (neurons)
    real      E = e_mac N                      one step, neurons replaced by ReLU
    quantised E = e_ac sum_l B r_b(l) N(l)     likewise, bit by bit: r_b is the share of ones among B bits

It is an estimate of operations, no measurement, and says nothing of weights and activations that are moved.

Sources: STEP, arXiv 2505.11151 (its ingredients; the formulae are a reconstruction from its text), Horowitz, ISSCC 2014
(energy of arithmetic), Max-Former, arXiv 2505.18608, appendix B (the common rule of the papers).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.module_tracker import ModuleTracker

from .layers import Neuron, images_apart

__all__ = ['Account', 'Constants', 'Product', 'Rate', 'account', 'with_relu']

PART = 16  # pictures at a time: with hooks on it, a network keeps whole maps of all


@dataclass(frozen=True)
class Constants:
    """Energy of operations in picojoule, and widths in bits."""

    mac: float = 4.6  # float32 multiply and add
    ac: float = 0.9  # float32 add
    bit: float = 3.12  # one bit of memory, read or written
    membrane: int = 32  # bits of a membrane
    activation: int = 8  # bits of an activation of the quantised network


@dataclass
class Product:
    """All products of one layer, for one picture.

    Attributes:
        name: Name of the module that asked for them.
        kind: 'conv', 'linear' or 'matmul'.
        dense: Multiply-adds if every value counted, of all steps.
        macs: Multiply-adds that remain.
        acs: Accumulations.
        ones: Share of ones among the bits of its input, quantised.
    """

    name: str
    kind: str
    dense: float = 0.0
    macs: float = 0.0
    acs: float = 0.0
    ones: float = 0.0

    @property
    def rate(self) -> float:
        """Operations that remain, as a share of the dense ones."""
        return (self.macs + self.acs) / max(self.dense, 1.0)


@dataclass(frozen=True)
class Rate:
    """What one layer of neurons fires.

    Attributes:
        name: Name of the module.
        neurons: Neurons, for one picture.
        steps: Time steps.
        rate: Share of their outputs that are not 0.
    """

    name: str
    neurons: int
    steps: int
    rate: float


@dataclass(frozen=True)
class Account:
    """What `account` found, for one picture; energy in millijoule.

    Attributes:
        products: Layers that multiply, in the order of their first call.
        rates: Layers of neurons.
        constants: Of the estimate.
        real: Products of the network with ReLU in place of neurons, one step.
    """

    products: tuple[Product, ...]
    rates: tuple[Rate, ...]
    constants: Constants
    real: tuple[Product, ...] = field(repr=False)

    @property
    def dense(self) -> float:
        """Dense multiply-adds."""
        return sum(product.dense for product in self.products)

    @property
    def macs(self) -> float:
        """Multiply-adds that remain."""
        return sum(product.macs for product in self.products)

    @property
    def acs(self) -> float:
        """Accumulations."""
        return sum(product.acs for product in self.products)

    @property
    def rate(self) -> float:
        """Share of all neuron outputs that are not 0."""
        outputs = [rate.neurons * rate.steps for rate in self.rates]
        return sum(rate.rate * n for rate, n in zip(self.rates, outputs, strict=True)) / max(sum(outputs), 1)

    @property
    def compute_mj(self) -> float:
        """Energy of the arithmetic."""
        return (self.constants.mac * self.macs + self.constants.ac * self.acs) * 1e-9

    @property
    def membranes_mj(self) -> float:
        """Energy of reading and writing every membrane in every step."""
        moved = sum(2 * rate.steps * rate.neurons for rate in self.rates) * self.constants.membrane
        return self.constants.bit * moved * 1e-9

    @property
    def real_mj(self) -> float:
        """Energy of the network with real activations."""
        return self.constants.mac * sum(product.dense for product in self.real) * 1e-9

    @property
    def quantised_mj(self) -> float:
        """Energy of the network with quantised activations, bit by bit."""
        bits = sum(product.dense * product.ones for product in self.real) * self.constants.activation
        return self.constants.ac * bits * 1e-9


@torch.no_grad()
def account(
    model: nn.Module, images: torch.Tensor, *, integers: bool = False, constants: Constants | None = None
) -> Account:
    """Count what a spiking network computes on pictures, and estimate its energy.

    Each picture counts for itself: neurons that mix the images of a batch keep them apart here.

    Args:
        model: Network with neurons, in evaluation mode, or a module around one.
        images: Normalised pictures as the model takes them, (B, C, H, W) or (B, T, C, H, W).
        integers: Whether a whole number above 1 counts as so many accumulations, in place of a multiply-add.
        constants: Of the estimate.

    Raises:
        ValueError: The model has no neurons, or is in training mode.
    """
    if not any(isinstance(module, Neuron) for module in model.modules()):
        raise ValueError(
            f'Spikes are counted in networks with neurons, but {type(model).__name__} has none: name a spiking model.'
        )
    if model.training:
        raise ValueError('Spikes are counted in evaluation mode, but the model is in training mode: call eval() first.')
    constants = constants or Constants()
    model = images_apart(model)
    rates: dict[str, list] = {}

    def listen(name: str, neuron: Neuron) -> Any:
        def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            entry = rates.setdefault(name, [0, 0, neuron.num_steps])
            entry[0] += output.numel()
            entry[1] += int(output.count_nonzero())

        return neuron.register_forward_hook(hook)

    handles = [listen(name, module) for name, module in model.named_modules() if isinstance(module, Neuron)]
    try:
        calls = _run(model, images)
    finally:
        for handle in handles:
            handle.remove()
    twin = with_relu(model)
    for module in twin.modules():  # what is watched runs whole: a product in parts would have a range for each
        module.register_forward_hook(lambda *_: None)
    first = images[:, :1] if images.ndim == 5 else images
    real = _run(twin, first)
    limits = {key: call.operands[0].largest for key, call in real.items()}
    ones = {key: call.ones for key, call in _run(twin, first, constants.activation, limits).items()}
    for key, call in real.items():
        call.ones = ones[key]
    count = len(images)
    return Account(
        products=_products(calls, count, integers),
        rates=tuple(
            Rate(name, total // steps // count, steps, fired / total) for name, (total, fired, steps) in rates.items()
        ),
        constants=constants,
        real=_products(real, count, False),
    )


class _Relu(nn.ReLU):
    """In place of a neuron, of which a network may ask another number of time steps."""

    def set_num_steps(self, num_steps: int) -> None:
        """It has none."""


def with_relu(model: nn.Module) -> nn.Module:
    """A copy with ReLU in place of every neuron and one time step, on the picture itself: real activations."""
    twin: Any = copy.deepcopy(model)
    for module in list(twin.modules()):
        for name, child in module.named_children():
            if isinstance(child, Neuron):
                setattr(module, name, _Relu().train(child.training))
    for module in twin.modules():
        if hasattr(module, 'set_num_steps'):  # of what is left: some neurons have weights for each step
            module.set_num_steps(1)
        if hasattr(module, 'encoding'):  # the others make spikes of the picture
            module.encoding = 'direct'
    return twin


@dataclass
class _Operand:
    """One operand of a product, over all pictures."""

    size: float = 0.0
    count: int = 0
    largest: float = 0.0
    whole: bool = True  # numbers alone

    def add(self, x: torch.Tensor) -> None:
        size = x.abs()
        self.size += float(size.double().sum())
        self.count += size.numel()
        self.largest = max(self.largest, float(size.max()))
        self.whole = self.whole and bool((size == size.round()).all())

    def rate(self, integers: bool) -> float | None:
        """Accumulations for each multiply-add with it, None if they are none."""
        return self.size / self.count if self.whole and (integers or self.largest <= 1) else None


@dataclass
class _Call:
    """One product of a forward pass, over all pictures."""

    operands: tuple[_Operand, ...]
    dense: float = 0.0
    ones: float = 0.0


_Key = tuple[str, str, int]  # module, kind, and how many of this kind it has asked for before


def _run(
    model: nn.Module, images: torch.Tensor, bits: int = 0, limits: dict[_Key, float] | None = None
) -> dict[_Key, _Call]:
    """All products of a network on pictures, a few at a time; with `bits`, ones of values quantised up to `limits`."""
    found: dict[_Key, _Call] = {}
    for part in images.split(PART):
        with ModuleTracker() as tracker, _Counter(tracker, type(model).__name__, found, bits, limits or {}):
            model(part)
    return found


def _products(calls: dict[_Key, _Call], count: int, integers: bool) -> tuple[Product, ...]:
    """The products of each module, for one picture of `count`."""
    products: dict[tuple[str, str], Product] = {}
    for (name, kind, _), call in calls.items():
        product = products.setdefault((name, kind), Product(name, kind))
        rates = [rate for rate in (operand.rate(integers) for operand in call.operands) if rate is not None]
        dense = call.dense / count
        product.dense += dense
        product.acs += dense * min(rates) if rates else 0.0
        product.macs += 0.0 if rates else dense
        product.ones += call.ones / count
    for product in products.values():
        product.ones /= max(product.dense, 1.0)
    return tuple(products.values())


class _Counter(TorchDispatchMode):
    """Looks at every product while a network runs once."""

    def __init__(
        self, tracker: ModuleTracker, root: str, found: dict[_Key, _Call], bits: int, limits: dict[_Key, float]
    ) -> None:
        super().__init__()
        self.tracker, self.root, self.found, self.bits, self.limits = tracker, root, found, bits, limits
        self.asked: dict[tuple[str, str], int] = {}
        aten = torch.ops.aten
        self.operands: dict[Any, tuple[str, Callable[..., Any]]] = {
            aten.convolution.default: ('conv', lambda x, w, *_: ((x,), w[0].numel())),
            aten.mm.default: ('matmul', lambda a, b: ((a, b), a.shape[-1])),
            aten.bmm.default: ('matmul', lambda a, b: ((a, b), a.shape[-1])),
            aten.addmm.default: ('linear', lambda c, a, b: ((a,), a.shape[-1])),
        }

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in self.operands:
            kind, operands = self.operands[func]
            values, depth = operands(*args)
            self.count(kind, values, float(out.numel() * depth))
        return out

    def count(self, kind: str, values: tuple[torch.Tensor, ...], dense: float) -> None:
        """Add a product of maps, or of one with a weight."""
        name = max(self.tracker.parents - {'Global'}, key=len).removeprefix(self.root).lstrip('.')
        nth = self.asked.get((name, kind), 0)
        self.asked[name, kind] = nth + 1
        key = name, kind, nth
        call = self.found.setdefault(key, _Call(tuple(_Operand() for _ in values)))
        call.dense += dense
        for operand, value in zip(call.operands, values, strict=True):
            operand.add(value)
        if self.bits:
            call.ones += dense * _ones(values[0], self.bits, self.limits[key])


def _ones(x: torch.Tensor, bits: int, largest: float) -> float:
    """Share of ones among the bits of x, quantised up to the largest size: a sign and the bits of the size."""
    levels = (x.abs() * ((2 ** (bits - 1) - 1) / max(largest, 1e-30))).round().int()
    ones = sum(((levels >> bit) & 1).sum() for bit in range(bits - 1)) + (x < 0).sum()
    return float(ones) / (bits * x.numel())
