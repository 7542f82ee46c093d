"""`backbones.profile` and its tool: totals against definitions, and nothing counted silently as zero."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from backbones.layers.ska import small_kernel_aggregation
from backbones.profile import count_macs, profile
from registry import narrow, shape, smallest

pytest.importorskip('fvcore')
TOOLS = Path(__file__).parents[1] / 'tools'


class Mixed(nn.Module):
    """One of each operator that is counted by a handle of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 18, 3, stride=2, padding=1, bias=False)
        self.register_buffer('taps', torch.ones(1, 6, 25, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)  # B 18 8 10
        x = small_kernel_aggregation(x, self.taps.expand(x.shape[0], -1, -1, *x.shape[2:]))
        tokens = x.flatten(2).transpose(1, 2).unsqueeze(1)  # B 1 80 18
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)


def test_counts_by_definition() -> None:
    result = profile(Mixed(), (3, 16, 20))
    conv, aggregation, attention = 18 * 80 * 27, 18 * 80 * 25, 80 * 80 * (18 + 18)
    assert result.by_operator == {'conv': conv, 'aggregation': aggregation, 'scaled_dot_product_attention': attention}
    assert result.macs == conv + aggregation + attention
    assert result.activations == 3 * 18 * 80
    assert result.parameters == 18 * 27
    assert result.operators == 3  # views do not count
    assert not result.uncounted
    by_name = {layer.name: layer for layer in result.layers}
    assert by_name['conv'].macs == conv
    assert by_name['conv'].output == (18, 8, 10)


@pytest.mark.parametrize('name', smallest())
def test_registry(name: str) -> None:
    model = narrow(name)
    result = profile(model, shape(name, 1, (96, 64))[-3:])
    assert result.parameters == sum(p.numel() for p in model.parameters())
    assert result.macs == count_macs(model, result.input_size) > 0
    # an operator of ours without a handle would show up as a Python function
    assert not [op for op in result.uncounted if 'PythonOp' in op]
    # the layers right under the model share out all that is inside of modules
    assert sum(layer.macs for layer in result.layers if layer.depth == 1) <= result.macs
    assert {layer.name for layer in result.layers} == {n for n, _ in model.named_modules()}


def test_lsnet_t_as_published() -> None:
    """0.316 G by the official script: BatchNorm folded, aggregation counted as a depthwise 3x3 convolution."""
    model = timm.create_model('lsnet_t')
    result = profile(model, (3, 224, 224), fused=True)
    assert result.parameters == 11_409_832
    assert result.fused is not None
    assert result.fused.macs / 1e9 == pytest.approx(0.316, abs=5e-4)
    assert result.by_operator['aggregation'] == 9 * 128 * 14**2 + 4 * 9 * 256 * 7**2
    norms = sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    assert result.operators - result.fused.operators >= norms
    assert not [op for op in result.fused.by_operator if 'batch_norm' in op]


def test_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    model[1].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    profile(model, (3, 8, 8))
    assert model.training
    assert model[0].training
    assert not model[1].training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize('size', [(3, 224), (3, 0, 224), (3, 224.0, 224)])
def test_wrong_input_size(size: tuple) -> None:
    with pytest.raises(ValueError, match='input_size must be three positive integers'):
        profile(nn.Conv2d(3, 4, 1), size)


def test_without_fvcore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'fvcore.nn', None)
    with pytest.raises(ImportError, match=r'pip install backbones\[profile\]'):
        profile(nn.Conv2d(3, 4, 1), (3, 8, 8))


def test_tool(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from tools.profile import main

    path = tmp_path / 'profile.csv'
    assert (
        main(['--model', 'lsnet_t', '--input-size', '3', '64', '64', '--depth', '1', '--results-file', str(path)]) == 0
    )
    printed = capsys.readouterr()
    assert 'lsnet_t' in printed.out
    assert 'stages' in printed.out
    assert not printed.err
    (row,) = csv.DictReader(path.open())
    assert row['model'] == 'lsnet_t'
    assert float(row['param_count']) == pytest.approx(11.4098, abs=1e-4)
    assert row['img_size'] == '64'
    assert list(tmp_path.iterdir()) == [path]
    words = ['--model', 'lsnet_t', '--model-kwargs', 'num_classes=10', '--input-size', '3', '64', '64']
    assert main([*words, '--results-file', str(path)]) == 0
    (fewer,) = csv.DictReader(path.open())
    assert float(row['param_count']) - float(fewer['param_count']) == pytest.approx(990 * 385 / 1e6, abs=1e-4)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--model', 'lsnet_tt'], 'did you mean lsnet_t'),
        (['--model', 'lsnet_t', '--model-kwargs', 'dims'], "--model-kwargs takes KEY=VALUE, but got 'dims'"),
        (['--model', 'lsnet_t', '--model-kwargs', 'widht=3'], 'widht'),
        (['--model', 'lsnet_t', '--depth', '-1'], '--depth must be at least 0'),
        (['--model', 'lsnet_t', '--input-size', '3', '0', '64'], 'three positive integers'),
        (['--model', 'vit_tiny_patch16_224', '--input-size', '3', '64', '64'], 'does not run at --input-size'),
    ],
)
def test_tool_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    from tools.profile import main

    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count('\n') == 1


def test_tools_do_not_hide_the_standard_library() -> None:
    """`python tools/x.py` puts tools/ first on the path, where `profile.py` would be what cProfile imports."""
    code = f'import sys; sys.path.insert(0, {str(TOOLS)!r}); import cProfile, profile'
    code += '; print(profile.Profile.__name__)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout == 'Profile\n', done.stderr
