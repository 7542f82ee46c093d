"""The Triton form of the plain neuron against its definition, on a GPU or in Triton's interpreter.

The interpreter has to be chosen before Triton is imported: `test_in_interpreter` runs this file once more in a process
of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip('triton', exc_type=ImportError)

from backbones.layers import LIF, Neuron  # noqa: E402
from backbones.layers.lif_triton import lif_kernels  # noqa: E402

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
DEVICE = 'cpu' if INTERPRETED else 'cuda'
needs_kernels = pytest.mark.skipif(
    not INTERPRETED and not torch.cuda.is_available(), reason='no GPU; `test_in_interpreter` runs it'
)
needs_cuda = pytest.mark.skipif(INTERPRETED or not torch.cuda.is_available(), reason='no GPU')


@pytest.mark.skipif(INTERPRETED, reason='this is the inner run')
def test_in_interpreter() -> None:
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', __file__]
    environment = {**os.environ, 'TRITON_INTERPRET': '1', 'CUDA_VISIBLE_DEVICES': ''}
    inner = subprocess.run(
        command, cwd=Path(__file__).parent.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert inner.returncode == 0, inner.stdout + inner.stderr
    assert ' passed' in inner.stdout, inner.stdout  # they were not all skipped


@needs_kernels
@pytest.mark.parametrize('surrogate', ['sigmoid', 'atan'])
@pytest.mark.parametrize(('steps', 'shape'), [(1, (3,)), (4, (1, 1)), (4, (2, 3, 5, 7)), (3, (1100,))], ids=str)
def test_kernels_are_the_definition(steps: int, shape: tuple[int, ...], surrogate: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.randn(steps * shape[0], *shape[1:], dtype=torch.float64, generator=generator).to(DEVICE)
    neuron = LIF(steps, tau=2.5, v_threshold=0.75, surrogate=surrogate, alpha=3.0)
    x.requires_grad_()
    twin = x.detach().clone().requires_grad_()
    y, expected = lif_kernels(x, steps, 2.5, 0.75, surrogate, 3.0), Neuron.run(neuron, twin)
    assert torch.equal(y, expected) and 0 < y.mean() < 1
    weights = torch.rand(y.shape, dtype=torch.float64, generator=generator).to(DEVICE)
    (y * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(x.grad, twin.grad, rtol=1e-6, atol=1e-9)  # arguments of a kernel are float32
    with torch.no_grad():
        assert torch.equal(lif_kernels(x, steps, 2.5, 0.75, surrogate, 3.0), y)


@needs_cuda
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_neurons_take_them_on_a_gpu(dtype: torch.dtype) -> None:
    x = torch.randn(8, 5, 6, 6, device=DEVICE).to(dtype)
    assert torch.equal(LIF()(x), LIF()(x.cpu()).to(DEVICE))
