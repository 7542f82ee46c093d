"""Size and cost of a model: parameters, multiply-adds, activations and operators, as a whole and layer by layer.

Multiply-adds (MACs) are counted by fvcore on a traced forward pass of one image, or one clip, in eval mode: one for
each product of convolutions, linear layers and matrix products; normalisations count as fvcore counts them (one for
each element, two with affine parameters). What fvcore does not know and we do are the operators in `_macs_handles`.
Element-wise sums, products and activation functions count nothing; `Profile.uncounted` lists them, so that nothing is
left out silently.
"""

import contextlib
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from .layers.spiking import clip_steps

__all__ = ['Layer', 'Profile', 'count_macs', 'profile']

# Small-kernel aggregation, as its autograd function is called in a trace; its inputs are the map and the weights.
_AGGREGATION = 'prim::PythonOp._InPlace'

# fvcore ignores these when it counts costs, but they compute or move data, so that a runtime has to launch them.
_ALSO_OPERATORS = ['cat', 'clamp', 'clamp_', 'constant_pad_nd', 'gather', 'index', 'index_put_', 'masked_fill', 'max']
_ALSO_OPERATORS += ['relu', 'relu_', 'roll', 'stack']
# and these are views that it does not know for what they are
_VIEWS = [
    'T',
    'adjoint',
    'expand_as',
    'mH',
    'mT',
    'movedim',
    'numpy_T',
    'reshape_as',
    'swapaxes',
    'unflatten',
    'view_as',
]


@dataclass(frozen=True)
class Layer:
    """One module of a model. Counts include everything inside of it.

    Attributes:
        name: Dotted name inside the model; empty for the model itself.
        kind: Name of the class.
        depth: Number of modules above it.
        output: Shape of its output for one image, `None` when that is no single tensor or the module is not called.
        parameters: Number of parameters.
        macs: Multiply-adds.
        activations: Elements that convolutions, linear layers, matrix products and aggregations put out.
    """

    name: str
    kind: str
    depth: int
    output: tuple[int, ...] | None
    parameters: int
    macs: int
    activations: int


@dataclass(frozen=True)
class Profile:
    """What `profile` found. All counts are for one image.

    Attributes:
        input_size: Channels, height and width of the image.
        parameters: Number of parameters, shared ones once.
        macs: Multiply-adds.
        activations: Elements that convolutions, linear layers, matrix products and aggregations put out.
        operators: Operators that a runtime has to launch: nodes of the traced graph that compute or move data. Views,
            sizes and constants are left out; a custom operator counts once.
        by_operator: Multiply-adds of each kind of operator.
        uncounted: How often each operator occurs that has a cost but no count, such as `aten::add`.
        layers: Every module, the model first, in the order of `named_modules`.
        fused: The same of `backbones.deploy.fuse(model)`, when asked for.
    """

    input_size: tuple[int, int, int]
    parameters: int
    macs: int
    activations: int
    operators: int
    by_operator: dict[str, int]
    uncounted: dict[str, int]
    layers: tuple[Layer, ...] = field(repr=False)
    fused: 'Profile | None' = None


def profile(model: nn.Module, input_size: Sequence[int] = (3, 224, 224), *, fused: bool = False) -> Profile:
    """Count parameters, multiply-adds, activations and operators of a model.

    The model is traced in eval mode on its own device with its own type and left as it was.

    Args:
        model: Any model that takes one batch of images, or of clips as ours do.
        input_size: Channels, height and width of the image, or of each picture of a clip, in pixels.
        fused: Also profile the re-parameterised model, as `Profile.fused`.

    Returns:
        The counts, for one image.

    Raises:
        ImportError: fvcore is not installed.
        ValueError: `input_size` is not three positive integers.
    """
    size = _size(input_size)
    with _evaluation(model):
        smaller = None
        if fused:
            from backbones.deploy import fuse

            smaller = _profile(fuse(model), size, None)
        return _profile(model, size, smaller)


def count_macs(model: nn.Module, input_size: Sequence[int] = (3, 224, 224)) -> int:
    """`profile(model, input_size).macs` alone, in a quarter of the time.

    Args:
        model: As in `profile`.
        input_size: As in `profile`.

    Raises:
        ImportError: fvcore is not installed.
        ValueError: `input_size` is not three positive integers.
    """
    size = _size(input_size)
    with _evaluation(model), _quiet():
        macs, _, _ = _analyses(model, _image(model, size))
        return int(macs.total())


def _size(given: Sequence[int]) -> tuple[int, int, int]:
    size = tuple(given)
    if len(size) != 3 or not all(isinstance(n, int) and n > 0 for n in size):
        raise ValueError(
            f'input_size must be three positive integers (channels, height, width), but is {size}: give (3, 224, 224).'
        )
    return size


@contextlib.contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """The model in eval mode, and each module as it was afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')
        yield


def _image(model: nn.Module, size: tuple[int, int, int]) -> torch.Tensor:
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    return torch.zeros(1, *clip_steps(model), *size, device=like.device, dtype=like.dtype)


def _profile(model: nn.Module, size: tuple[int, int, int], fused: Profile | None) -> Profile:
    image = _image(model, size)
    with _quiet():
        macs, activations, operators = _analyses(model, image)
        outputs = _output_shapes(model, image)
        by_module, activations_by_module = macs.by_module(), activations.by_module()
        operators.total()  # runs the trace
    layers = tuple(
        Layer(
            name=name,
            kind=type(module).__name__,
            depth=name.count('.') + 1 if name else 0,
            output=outputs.get(name),
            parameters=sum(p.numel() for p in module.parameters()),
            macs=int(by_module[name]),
            activations=int(activations_by_module[name]),
        )
        for name, module in model.named_modules()
    )
    launched = sum(operators.by_operator().values()) + sum(operators.unsupported_ops().values())
    return Profile(
        input_size=size,
        parameters=layers[0].parameters,
        macs=layers[0].macs,
        activations=layers[0].activations,
        operators=launched,
        by_operator={name: int(count) for name, count in macs.by_operator().most_common()},
        uncounted=dict(macs.unsupported_ops().most_common()),
        layers=layers,
        fused=fused,
    )


def _analyses(model: nn.Module, image: torch.Tensor) -> tuple[Any, Any, Any]:
    """fvcore's analyses of MACs, of activations and of operators, all of them quiet."""
    try:
        from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis
        from fvcore.nn.jit_analysis import JitModelAnalysis
    except ImportError as error:
        raise ImportError('Profiling needs fvcore: install it with `pip install backbones[profile]`.') from error
    macs = FlopCountAnalysis(model, image).set_op_handle(**_macs_handles())
    activations = ActivationCountAnalysis(model, image).set_op_handle(**_activations_handles())
    operators = JitModelAnalysis(model, image).set_op_handle(**_operator_handles())
    for analysis in (macs, activations, operators):
        analysis.set_op_handle(**{f'aten::{name}': None for name in _VIEWS})
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings('none')
    return macs, activations, operators


Handle = Callable[[list, list], Any]  # inputs and outputs of a node -> count, or a Counter with one


def _macs_handles() -> dict[str, Handle]:
    """Multiply-adds of operators that fvcore lacks, by the name they have in a trace."""
    return {
        _AGGREGATION: lambda inputs, outputs: Counter(aggregation=math.prod(_shape(outputs[0])) * _shape(inputs[1])[2]),
        'aten::scaled_dot_product_attention': _attention_macs,
        'aten::baddbmm': lambda inputs, outputs: math.prod(_shape(outputs[0])) * _shape(inputs[1])[-1],
    }


def _activations_handles() -> dict[str, Handle]:
    return {
        _AGGREGATION: lambda _, outputs: Counter(aggregation=math.prod(_shape(outputs[0]))),
        'aten::scaled_dot_product_attention': lambda _, outputs: math.prod(_shape(outputs[0])),
        'aten::baddbmm': lambda _, outputs: math.prod(_shape(outputs[0])),
    }


def _attention_macs(inputs: list, outputs: list) -> int:
    """Query (..., N, D) by key (..., M, D), then the N x M weights by value (..., M, E)."""
    *batch, queries, width = _shape(inputs[0])
    keys, values = _shape(inputs[2])[-2:]
    return math.prod(batch) * queries * keys * (width + values)


def _operator_handles() -> dict[str, Handle]:
    return {f'aten::{name}': lambda inputs, outputs: 1 for name in _ALSO_OPERATORS}


def _shape(value: Any) -> list[int]:
    """Sizes of a value of the trace."""
    return value.type().sizes()


def _output_shapes(model: nn.Module, image: torch.Tensor) -> dict[str, tuple[int, ...]]:
    """Name -> shape of what the module put out, without the batch."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Callable:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                shapes[name] = tuple(output.shape[1:])

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in model.named_modules()]
    try:
        model(image)
    finally:
        for handle in handles:
            handle.remove()
    return shapes
