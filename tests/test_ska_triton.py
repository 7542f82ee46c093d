"""The Triton form of small-kernel aggregation against its definition in float64.

The same tests run on a GPU, where there is one, and in Triton's interpreter, which needs none. The interpreter has to
be chosen before Triton is imported: `test_in_interpreter` runs this file once more in a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

triton = pytest.importorskip('triton', exc_type=ImportError)

from backbones.layers import ska_triton  # noqa: E402
from backbones.layers.ska import small_kernel_aggregation  # noqa: E402
from backbones.layers.ska_triton import aggregate  # noqa: E402

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
DEVICE = 'cpu' if INTERPRETED else 'cuda'
needs_kernels = pytest.mark.skipif(
    not INTERPRETED and not torch.cuda.is_available(), reason='no GPU; `test_in_interpreter` runs it'
)
needs_cuda = pytest.mark.skipif(INTERPRETED or not torch.cuda.is_available(), reason='no GPU')
needs_compiler = pytest.mark.skipif(INTERPRETED, reason='the interpreter compiles nothing')

SIZES = [  # B, C, G, K, H, W
    (2, 8, 1, 3, 1, 1),  # C/G = 8, as in LSNet; a map of one pixel
    (1, 16, 2, 3, 3, 5),
    (1, 4, 4, 3, 7, 13),  # G = C
    (1, 6, 1, 5, 7, 13),  # G = 1, C/G no power of two
    (1, 22, 2, 3, 4, 3),  # C/G = 11, more than a program takes
    (2, 2, 1, 3, 9, 20),  # pixels of two programs
    (1, 2, 1, 7, 3, 5),  # kernel larger than the map
    (1, 3, 1, 1, 2, 3),
]


def define(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """The definition in float64, by unfolding."""
    (batch, channels, height, width), (groups, taps) = x.shape, w.shape[1:3]
    kernel = round(taps**0.5)
    patches = F.unfold(x.double(), kernel, padding=kernel // 2)
    patches = patches.view(batch, channels // groups, groups, taps, height, width)  # c = r * G + g
    return torch.einsum('bgkyx,brgkyx->brgyx', w.double(), patches).reshape(x.shape)


def draw(size: tuple, x_dtype: torch.dtype, w_dtype: torch.dtype | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    batch, channels, groups, kernel, height, width = size
    x = torch.randn(batch, channels, height, width).to(DEVICE, x_dtype).requires_grad_()
    w = torch.randn(batch, groups, kernel**2, height, width).to(DEVICE, w_dtype or x_dtype).requires_grad_()
    return x, w


def run(function, x: torch.Tensor, w: torch.Tensor, d: torch.Tensor) -> list[torch.Tensor]:
    """The result and both gradients."""
    out = function(x, w)
    return [out.detach(), *torch.autograd.grad(out, (x, w), d.to(out.dtype))]


def define_all(x: torch.Tensor, w: torch.Tensor, d: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Result and gradients in float64, and the same sums of absolute values, which bound the rounding of the sums."""
    tensors = [t.detach().double() for t in (x, w, d)]
    exact = run(define, *(t.requires_grad_() for t in tensors[:2]), tensors[2])
    sums = run(define, *(t.detach().abs().requires_grad_() for t in tensors[:2]), tensors[2].abs())
    return exact, sums


@pytest.mark.skipif(INTERPRETED, reason='this is the inner run')
def test_in_interpreter():
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', __file__]
    environment = {**os.environ, 'TRITON_INTERPRET': '1', 'CUDA_VISIBLE_DEVICES': ''}
    inner = subprocess.run(
        command, cwd=Path(__file__).parent.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert inner.returncode == 0, inner.stdout + inner.stderr
    assert ' passed' in inner.stdout, inner.stdout  # they were not all skipped


@needs_kernels
@pytest.mark.parametrize('size', SIZES)
def test_float64_equals_the_definition(size):
    x, w = draw(size, torch.float64)
    d = torch.randn_like(x)
    for ours, exact in zip(run(aggregate, x, w, d), run(define, x, w, d), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-13, atol=1e-13)


@needs_kernels
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_sums_run_in_float32_and_are_rounded_once(dtype):
    x, w = draw((1, 16, 2, 3, 5, 7), dtype)
    d = torch.randn(x.shape, dtype=dtype, device=DEVICE)
    exact, sums = define_all(x, w, d)
    unit = torch.finfo(dtype).eps  # not half of it: the interpreter cuts bfloat16 off where GPUs round to nearest
    for ours, right, magnitude in zip(run(aggregate, x, w, d), exact, sums, strict=True):
        assert ours.dtype == dtype
        bound = (
            unit * right.abs() + 10 * torch.finfo(torch.float32).eps * magnitude + torch.finfo(dtype).smallest_normal
        )
        assert ((ours.double() - right).abs() <= bound).all()


@needs_kernels
@pytest.mark.filterwarnings('ignore:overflow encountered in cast')  # of results that are not looked at
def test_sums_may_pass_beyond_float16():
    """300 * 300 - 300 * 300 + 1 is 1, but inf - inf in float16, in whatever order it is summed."""
    half = {'dtype': torch.float16, 'device': DEVICE}
    x = torch.tensor([300, -300, 1], **half).view(1, 1, 1, 3).requires_grad_()
    w = torch.zeros(1, 1, 9, 1, 3, **half)
    w[:, :, 3:6] = torch.tensor([300, 300, 1], **half).view(3, 1, 1)
    out = aggregate(x, w)
    d = torch.tensor([1, -300, 300], **half).view(1, 1, 1, 3)
    (grad_x,) = torch.autograd.grad(out, x, d)
    assert out[0, 0, 0, 1] == 1
    assert grad_x[0, 0, 0, 1] == 1

    x = torch.tensor([300, 300, 1], **half).view(1, 3, 1, 1)
    w = torch.zeros(1, 1, 9, 1, 1, **half).requires_grad_()
    d = torch.tensor([300, -300, 1], **half).view(1, 3, 1, 1)
    (grad_w,) = torch.autograd.grad(aggregate(x, w), w, d)
    assert grad_w.flatten().tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]


@needs_kernels
def test_gradcheck_of_first_and_second_order():
    x, w = draw((1, 2, 1, 3, 1, 2), torch.float64)
    assert torch.autograd.gradcheck(aggregate, (x, w), fast_mode=True)
    assert torch.autograd.gradgradcheck(aggregate, (x, w), fast_mode=True)


@needs_kernels
def test_only_wanted_gradients_are_made():
    x, w = draw((1, 2, 1, 3, 2, 3), torch.float64)
    (alone,) = torch.autograd.grad(aggregate(x, w.detach()).sum(), x)
    torch.testing.assert_close(alone, torch.autograd.grad(define(x, w).sum(), x)[0])
    (alone,) = torch.autograd.grad(aggregate(x.detach(), w).sum(), w)
    torch.testing.assert_close(alone, torch.autograd.grad(define(x, w).sum(), w)[0])
    assert not aggregate(x.detach(), w.detach()).requires_grad


@needs_kernels
def test_any_strides():
    x, w = draw((2, 8, 2, 3, 3, 5), torch.float64)
    d = torch.randn(2, 1, 1, 5, dtype=torch.float64, device=DEVICE).expand(x.shape)
    strided_x = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    strided_w = w.detach().transpose(1, 4).contiguous().transpose(1, 4).requires_grad_()
    assert not strided_x.is_contiguous()
    assert not strided_w.is_contiguous()
    for ours, exact in zip(run(aggregate, strided_x, strided_w, d), run(define, x, w, d), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-13, atol=1e-13)


@needs_kernels
@pytest.mark.parametrize(
    ('x_dtype', 'w_dtype'),
    [
        (torch.float16, torch.float32),
        (torch.float32, torch.bfloat16),
        (torch.float16, torch.bfloat16),
        (torch.float32, torch.float64),
    ],
)
def test_mixed_types_are_promoted_under_autocast_too(x_dtype, w_dtype):
    x, w = draw((1, 4, 2, 3, 2, 3), x_dtype, w_dtype)
    dtype = (x[:, :2] * w[:, :, 0]).dtype
    d = torch.randn(x.shape, dtype=dtype, device=DEVICE)
    ours = run(aggregate, x, w, d)
    with torch.autocast(DEVICE, torch.bfloat16):
        assert torch.equal(aggregate(x, w), ours[0])
    assert [t.dtype for t in ours] == [dtype, x_dtype, w_dtype]
    for got, right, magnitude in zip(ours, *define_all(x, w, d), strict=True):
        unit = torch.finfo(got.dtype).eps
        bound = unit * right.abs() + 10 * torch.finfo(dtype).eps * magnitude + torch.finfo(got.dtype).smallest_normal
        assert ((got.double() - right).abs() <= bound).all()


@needs_kernels
def test_registered_as_torch_asks():
    x, w = draw((1, 4, 2, 3, 2, 3), torch.float32)
    checks = ('test_schema', 'test_autograd_registration', 'test_faketensor')
    torch.library.opcheck(ska_triton._aggregate, (x, w), test_utils=checks)
    torch.library.opcheck(ska_triton._grad_x, (x, w, torch.float16), test_utils=checks)
    torch.library.opcheck(ska_triton._grad_w, (x, x.detach(), 2, 9, torch.float16), test_utils=checks)


def test_maps_too_large_are_refused():
    x = torch.zeros(1).expand(1, 1, 2**15, 2**15)
    with pytest.raises(ValueError, match=r'fewer than 2\*\*30 pixels'):
        aggregate(x, torch.zeros(1).expand(1, 1, 9, 2**15, 2**15))


def build(kernel, pointer: str, ones: tuple = (), **constants):
    """Compile for a GPU that need not be here, with all that a caller could know about alignment."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = [p.name for p in kernel.params]
    constants |= dict.fromkeys(ones, 1)
    signature = {n: 'constexpr' if n in constants else pointer if n.endswith('_ptr') else 'i32' for n in names}
    source = ASTSource(
        kernel,
        signature,
        {(names.index(name),): value for name, value in constants.items()},
        {(i,): [['tt.divisibility', 16]] for i, name in enumerate(names) if name not in constants},
    )
    options = {'num_warps': constants['BLOCK'] // 32}
    return triton.compile(source, target=GPUTarget('cuda', 80, 32), options=options)


@needs_compiler
@pytest.mark.parametrize('transposed', [False, True])
@pytest.mark.parametrize(('dtype', 'bits'), [('fp16', 16), ('fp32', 32)])
def test_each_weight_is_loaded_once_for_eight_channels(transposed, dtype, bits):
    constants = {'K': 3, 'ROWS': 8, 'BLOCK': 128, 'TRANSPOSED': transposed, 'DOUBLE': False}
    built = build(ska_triton._gather_kernel, f'*{dtype}', **constants)
    loads = [line for line in built.asm['ptx'].splitlines() if 'ld.global' in line]
    assert len(loads) == 9 + 9 * 8
    assert all(f'ld.global.b{bits}' in line for line in loads)  # a lane has one pixel: neighbours load neighbours
    assert built.metadata.shared == 0  # and exchanges nothing with other lanes


@needs_compiler
@pytest.mark.parametrize('kernel', [3, 5])
def test_gradient_of_weights_stays_in_registers(kernel):
    constants = {'K': kernel, 'TAPS': triton.next_power_of_2(kernel**2), 'BLOCK': 128, 'DOUBLE': False}
    built = build(ska_triton._correlate_kernel, '*bf16', **constants)
    assert built.metadata.shared == 0
    assert 'atom' not in built.asm['ptx']


@needs_compiler
def test_compiles_for_sizes_that_are_one():
    """torch.compile makes constants of them."""
    ones = ('channels', 'groups', 'height', 'width')
    constants = {'K': 3, 'ROWS': 1, 'BLOCK': 32, 'TRANSPOSED': True, 'DOUBLE': True}
    assert build(ska_triton._gather_kernel, '*fp64', ones, **constants).asm['ptx']
    constants = {'K': 3, 'TAPS': 16, 'BLOCK': 32, 'DOUBLE': True}
    assert build(ska_triton._correlate_kernel, '*fp64', ones, **constants).asm['ptx']


class Aggregation(torch.nn.Module):
    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return aggregate(x, w)


@needs_compiler
def test_export_keeps_one_node_for_any_batch_and_size():
    shapes = tuple(dict.fromkeys(dims, torch.export.Dim.DYNAMIC) for dims in ((0, 2, 3), (0, 3, 4)))
    program = torch.export.export(
        Aggregation(), (torch.randn(2, 8, 9, 12), torch.randn(2, 2, 9, 9, 12)), dynamic_shapes=shapes
    )
    targets = [node.target for node in program.graph.nodes if 'backbones' in str(node.target)]
    assert targets == [torch.ops.backbones.small_kernel_aggregation.default]


@needs_compiler
def test_compiler_sees_kernels_that_write_their_output_only(monkeypatch):
    from torch._functorch.aot_autograd import aot_function, make_boxed_func
    from torch._subclasses.fake_tensor import FakeTensorMode
    from triton.backends.compiler import GPUTarget

    class Driver:
        def get_current_target(self) -> GPUTarget:
            return GPUTarget('cuda', 80, 32)

    graphs = []

    def keep(graph, _inputs):
        graphs.append(graph)
        return make_boxed_func(graph)

    monkeypatch.setattr(triton.runtime.driver, '_active', Driver())  # torch asks which GPU to analyse the kernels for
    with FakeTensorMode():
        x = torch.empty(2, 16, 9, 12, dtype=torch.float16, requires_grad=True)
        w = torch.empty(2, 2, 9, 9, 12, requires_grad=True)
        aot_function(aggregate, keep, keep)(x, w).sum().backward()
    launches = [node for graph in graphs for node in graph.graph.nodes if 'triton_kernel_wrapper' in str(node.target)]
    assert [node.kwargs['tensors_to_clone'] for node in launches] == [['out_ptr']] * 3


@needs_cuda
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_cuda_at_the_size_of_a_detector(dtype):
    x, w = draw((2, 128, 16, 3, 50, 83), dtype)
    d = torch.randn(x.shape, dtype=dtype, device=DEVICE)
    exact, sums = define_all(x, w, d)
    for ours, right, magnitude in zip(run(aggregate, x, w, d), exact, sums, strict=True):
        bound = torch.finfo(dtype).eps / 2 * right.abs() + 10 * torch.finfo(torch.float32).eps * magnitude
        assert ((ours.double() - right).abs() <= bound + torch.finfo(dtype).smallest_normal).all()


@needs_cuda
def test_cuda_is_where_it_is_used():
    x, w = draw((2, 16, 2, 3, 5, 7), torch.float32)
    d = torch.randn(x.shape)
    on_cpu = run(small_kernel_aggregation, *(t.detach().cpu().requires_grad_() for t in (x, w)), d)
    for ours, other in zip(run(small_kernel_aggregation, x, w, d.cuda()), on_cpu, strict=True):
        torch.testing.assert_close(ours.cpu(), other, rtol=1e-5, atol=1e-5)


@needs_cuda
def test_cuda_compiled_equals_eager():
    x, w = draw((2, 16, 2, 3, 20, 31), torch.float32)
    d = torch.randn_like(x)
    compiled = torch.compile(aggregate, fullgraph=True)
    for ours, eager in zip(run(compiled, x, w, d), run(aggregate, x, w, d), strict=True):
        torch.testing.assert_close(ours, eager, rtol=1e-6, atol=1e-6)


@needs_cuda
@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_properties(0).total_memory < 24 * 2**30,
    reason='under 24 GiB',
)
def test_cuda_offsets_beyond_32_bits():
    x = torch.ones(9, 8, 2**12, 2**13, dtype=torch.float16, device=DEVICE)  # 9 * 2**28 elements
    w = torch.full((9, 1, 9, 2**12, 2**13), 0.5, dtype=torch.float16, device=DEVICE)
    out = aggregate(x, w)
    assert (out[:, :, 1:-1, 1:-1] == 4.5).all()
    assert (out[-1, :, -1, -1] == 2).all()
