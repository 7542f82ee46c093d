"""Exported spiking networks: what is compared, and what rounding may move."""

from functools import partial
from pathlib import Path

import pytest

pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

import numpy as np
import torch
from torch import nn

from backbones.deploy import export_onnx
from backbones.deploy.export import Disagreement
from backbones.deploy.spikes import Tally, listening, replaced
from backbones.deploy.verify import session
from backbones.layers import LIF, ConvNorm, Repeat, SpikingMlp, SpikingSelfAttention, TokenQK


class Spiking(nn.Module):
    """A lively network of every shared part: between a fiftieth and a half of its neurons fire."""

    def __init__(self, steps: int = 3, neuron: type = LIF) -> None:
        super().__init__()
        make = partial(neuron, steps)
        self.steps = steps
        self.stem = nn.Sequential(ConvNorm(3, 16, 3, 2), Repeat(steps))
        self.qk = nn.Sequential(make(), TokenQK(16, 2, make))
        self.attention = nn.Sequential(make(), SpikingSelfAttention(16, 2, make))
        self.mlp = SpikingMlp(16, 32, make, first=True)
        self.head = nn.Linear(16, 5)
        torch.manual_seed(0)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, 0.2, 1.2)
                nn.init.uniform_(module.running_var, 0.05, 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.qk(x)
        x = x + self.attention(x)
        x = x + self.mlp(x)
        return self.head(x.mean((2, 3))).unflatten(0, (self.steps, -1)).mean(0)


def spiking(**kwargs) -> nn.Module:
    return Spiking(**kwargs).eval()


@pytest.mark.parametrize('dynamic', [True, False])
def test_a_lively_network_is_exported(dynamic: bool, tmp_path: Path) -> None:
    model = spiking()
    x = torch.randn(2, 3, 40, 56)
    with listening(model) as spikes:
        expected = model(x)
    rates = [float(s.detach().mean()) for s in spikes]
    counts, sizes = [int(s.sum()) for s in spikes], [s.numel() for s in spikes]
    assert len(rates) == 8 and all(0.02 < rate < 0.9 for rate in rates)
    report = export_onnx(model, tmp_path / 'model.onnx', input_size=(3, 40, 56), dynamic=dynamic, samples=x)
    assert report.drift['onnxruntime'].pictures == 2
    for drifted in report.drift.values():
        assert drifted.spikes < 0.01 and drifted.rate == pytest.approx(sum(counts) / sum(sizes))
    assert report.outputs == ('output',) and all(check.spikes is not None for check in report.checks)
    assert not {'Loop', 'Scan', 'If', 'SequenceAt', 'BatchNormalization'} & set(report.operators)
    run = session(report.path)
    assert [output.name for output in run.get_outputs()] == ['output']
    given = run.run(None, {'input': x.numpy()})[0]
    assert np.abs(given - expected.detach().numpy()).max() < 0.05 * expected.abs().max()


class Wrong(LIF):
    """A neuron that another threshold is written down for."""

    def spike(self, h: torch.Tensor) -> torch.Tensor:
        return super().spike(h - (0.02 if torch.compiler.is_exporting() else 0.0))


def test_wrong_neurons_are_found(tmp_path: Path) -> None:
    with pytest.raises(Disagreement, match='neurons called as number 0'):
        export_onnx(spiking(neuron=Wrong), tmp_path / 'model.onnx', input_size=(3, 40, 56), dynamic=False)
    assert not list(tmp_path.iterdir())


class WrongHead(Spiking):
    """What is wrong behind the neurons is found too, to rounding."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * (1.001 if torch.compiler.is_exporting() else 1.0)


def test_wrong_outputs_are_found(tmp_path: Path) -> None:
    with pytest.raises(Disagreement, match="output 'output' differs"):
        export_onnx(WrongHead().eval(), tmp_path / 'model.onnx', input_size=(3, 40, 56), dynamic=False)


def test_replaced_spikes_reach_the_output() -> None:
    model, x = spiking(), torch.randn(1, 3, 32, 32)
    with listening(model) as spikes:
        model(x)
    changed = [1 - s if i == 7 else s for i, s in enumerate(spikes)]
    with replaced(model, changed) as differing:
        y = model(x)
    assert differing == [0] * 7 + [spikes[7].numel()]
    assert not torch.allclose(y, model(x))


def test_tally_keeps_a_nan() -> None:
    tally = Tally('output', ['spikes_0'])
    for value in (np.nan, 1.0):
        tally.add(
            {'output': np.ones((2, 3)), 'spikes_0': np.ones(4)},
            {'output': np.full((2, 3), value), 'spikes_0': np.ones(4)},
        )
    assert np.isnan(tally.result().error)


@pytest.mark.parametrize('parts', [1, 2])
def test_tally(parts: int) -> None:
    first = {'output': np.array([[1.0, 2.0], [4.0, 3.0]]), 'spikes_0': np.array([[1.0, 0], [0, 1]])}
    second = {'output': np.array([[1.0, 3.0], [3.0, 3.5]]), 'spikes_0': np.array([[1.0, 0], [1, 1]])}
    tally = Tally('output', ['spikes_0'])
    for part in np.split(np.arange(2), parts):
        tally.add({k: v[part] for k, v in first.items()}, {k: v[part] for k, v in second.items()})
    found = tally.result()
    assert (found.pictures, found.top1, found.error, found.spikes, found.rate) == (2, 0.5, 0.25, 0.25, 0.5)
