"""What `benchmark.py` times: candidates of one model, all with the same weights, as functions without arguments."""

import contextlib
import copy
import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

if __package__:
    from tools import benchmark_operators
    from tools.models import create
else:  # run as a script: this folder is on the path
    import benchmark_operators
    from models import create


@dataclass(frozen=True)
class Case:
    """What to build and call; survives pickling, so that a fresh process can build it too."""

    task: str
    model: str
    candidate: str
    batch: int
    size: tuple[int, ...]  # (C, H, W), or (T, C, H, W) of a model that takes clips
    threads: int
    against: str | None = None
    onnx: str | None = None
    operator: int | None = None  # place in the operators of the task's first word
    num_steps: int | None = None  # of a spiking network, its own if None

    @property
    def label(self) -> str:
        """What a table calls the model."""
        return label(self.model, self.num_steps)


def label(model: str, num_steps: int | None) -> str:
    """What a table calls a model at a number of time steps, its own if None."""
    return model if num_steps is None else f'{model}, T = {num_steps}'


@contextlib.contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def load_reference(against: str, model: str) -> nn.Module:
    """Build the reference implementation.

    Args:
        against: `PATH:FACTORY`, a Python file and a function in it; without `:FACTORY` the function named as the model.
        model: Name of our model.

    Returns:
        What the function returns, called without arguments.

    Raises:
        ValueError: The file or the function does not exist or fails.
    """
    path, factory = (against, model) if against.endswith('.py') else against.rpartition(':')[::2]
    file = Path(path).resolve()
    if not path or not file.is_file():
        raise ValueError(f'--against: there is no file {path or against!r}: give PATH.py or PATH.py:FACTORY.')
    spec = importlib.util.spec_from_file_location(f'reference_{file.stem}', file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _on_path(file.parent):
        try:
            spec.loader.exec_module(module)
            build = getattr(module, factory, None)
            if not callable(build):
                raise ValueError(f'--against: {path} has no function {factory!r}.')
            reference = build()
        except (ImportError, SyntaxError, OSError, TypeError, RuntimeError, AttributeError) as error:
            raise ValueError(f'--against: {against} fails: {type(error).__name__}: {error}') from error
    if not isinstance(reference, nn.Module):
        raise ValueError(
            f'--against: {factory}() in {path} must return a torch module, not {type(reference).__name__}.'
        )
    return reference


def _liven(model: nn.Module) -> None:
    """Give norms and constant parameters values, so that no branch is zero and equal outputs mean something.

    Branches that start at zero stay small, as trained ones are: else a deep model turns rounding into differences.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in model.modules():
            for name, value in module.named_buffers(recurse=False):
                if value.is_floating_point() and value.numel() > 1 and not value.any() and name != 'running_mean':
                    value.uniform_(0.05, 0.15, generator=generator)  # rates of firing, which are not below 0
            for name, value in itertools.chain(
                module.named_parameters(recurse=False), module.named_buffers(recurse=False)
            ):
                if name == 'weight' and value.ndim == 1 and not value.any():
                    value.uniform_(0.05, 0.15, generator=generator)
                elif name == 'running_var' or (name == 'weight' and value.ndim == 1):
                    value.uniform_(0.5, 1.5, generator=generator)
                elif value.is_floating_point() and value.numel() > 1 and not value.std() > 0:
                    value.normal_(0, 0.1, generator=generator)


def build(name: str, num_steps: int | None) -> nn.Module:
    return create(name, '--models', **({} if num_steps is None else {'num_steps': num_steps}))


def _training_step(model: nn.Module, image: torch.Tensor) -> Callable[[], object]:
    model.train()
    if len(image) == 1:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()

    def step() -> None:
        output = model(image)
        outputs = output if isinstance(output, tuple) else (output,)
        torch.stack([logits.square().mean() for logits in outputs]).sum().backward()
        for parameter in model.parameters():
            parameter.grad = None  # here and not before, so that no step starts with the memory of the last one

    return step


def forward(model: nn.Module, image: torch.Tensor) -> Callable[[], torch.Tensor]:
    """The forward pass of a model in evaluation, as a function to time."""
    model.eval()

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return model(image)

    return call


def _onnxruntime(path: str, image: torch.Tensor, threads: int) -> Callable[[], torch.Tensor]:
    timed = session(path, threads)
    feed = {timed.get_inputs()[0].name: image.numpy()}
    return lambda: torch.from_numpy(timed.run(None, feed)[0])


def session(path: str, threads: int) -> Any:
    """A file in ONNX Runtime on the processor.

    Its threads wait busily for work within a call, as they do by default, and not after it: what is timed next in the
    same process would pay for that.

    Args:
        path: The ONNX file.
        threads: Threads of an operator.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry('session.force_spinning_stop', '1')
    return onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])


def _openvino(path: str, image: torch.Tensor, threads: int) -> Callable[[], torch.Tensor]:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(list(image.shape))  # of a free batch OpenVINO makes slower code
    settings = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': threads, 'PERFORMANCE_HINT': 'LATENCY'}
    request = core.compile_model(model, 'CPU', settings).create_infer_request()
    picture = image.numpy()
    return lambda: torch.from_numpy(request.infer({0: picture})[0])


# candidates that run an exported file
RUNTIMES = {'onnx': _onnxruntime, 'openvino': _openvino, 'onnx_int8': _onnxruntime, 'openvino_int8': _openvino}
TRAINED = ('eager', 'channels_last')  # candidates that train; all others only run


def int8_file(onnx: str) -> str:
    """Where the quantised form of a file lies."""
    return f'{onnx.removesuffix(".onnx")}_int8.onnx'


def image_of(case: Case) -> torch.Tensor:
    return torch.randn(case.batch, *case.size, generator=torch.Generator().manual_seed(0))


def call_of(case: Case, models: dict[str, Any]) -> Callable[[], object]:
    """The function to time or measure, from the models that `models` holds."""
    if case.candidate in RUNTIMES:
        assert case.onnx is not None
        file = int8_file(case.onnx) if case.candidate.endswith('_int8') else case.onnx
        return RUNTIMES[case.candidate](file, image_of(case), case.threads)
    image = image_of(case)
    if case.candidate == 'compiled':
        torch.compiler.reset()  # else the second batch is compiled for batches of any size
        return forward(torch.compile(models['fused'].eval(), dynamic=False), image)  # pyright: ignore[reportArgumentType]
    make = _training_step if case.task == 'training' else forward
    if case.candidate == 'channels_last' and image.ndim == 4:
        image = image.contiguous(memory_format=torch.channels_last)
    return make(models[case.candidate], image)


def variants(case: Case, candidates: list[str]) -> dict[str, nn.Module]:
    """Candidate -> model, all with the same weights; what is compiled is the fused one."""
    from backbones import convert
    from backbones.deploy import fuse

    torch.manual_seed(0)
    ours = build(case.model, case.num_steps)
    models = {'eager': ours}
    if case.against and 'reference' in candidates:
        reference = models['reference'] = load_reference(case.against, case.model)
        _liven(reference)
        ours.load_state_dict(convert(ours, reference.state_dict()))
        reference.train()  # some implementations cache what they compute from weights as they enter eval mode
        reference.eval()
    else:
        _liven(ours)
    ours.eval()
    if 'channels_last' in candidates:
        models['channels_last'] = copy.deepcopy(ours).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if set(candidates) - {*TRAINED, 'reference'}:
        models['fused'] = fuse(ours)
    return models


def memory_of(case: Case) -> Any:
    """Peak memory of a case. Runs in a fresh process."""
    from backbones.measure import peak_memory

    torch.set_num_threads(case.threads)
    if case.candidate in RUNTIMES:  # their arenas keep memory, so that only the very first call shows it
        return peak_memory(call_of(case, {}), torch_allocates=False)
    if case.operator is not None:
        call = operator_call(case)
    elif case.candidate == 'reference':
        assert case.against is not None
        call = call_of(case, {'reference': load_reference(case.against, case.model)})
    else:
        call = call_of(case, variants(case, [case.candidate]))
    call()
    return peak_memory(call)


def operator_call(case: Case) -> Callable[[], object]:
    assert case.operator is not None
    operator = benchmark_operators.operators(case.task.split()[0])[case.operator]
    return operator.call(case.candidate, case.batch, case.task.endswith('backward'))
