"""deploy.fuse: the same function with fewer operators, for our backbones and for models of others."""

import copy

import pytest
import timm
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from backbones.deploy import fuse
from backbones.layers import Affine, Neuron
from registry import facts, make, shape, shortened, smallest, variants

# timm's ways to hold a convolution and its norm: attributes, sequences, with activations inside, leaves of their own
# that return, that work in place, that give float32; "same" padding; norms that nothing precedes.
FOREIGN = ['resnet10t', 'starnet_s1', 'tf_mobilenetv3_small_minimal_100', 'repvit_m0_9', 'mobileone_s0', 'fastvit_t8']
FOREIGN += ['levit_conv_128s', 'resnetv2_18', 'regnety_002']


@torch.no_grad()
def randomise(model: nn.Module) -> nn.Module:
    """`model` in float64 and eval mode with norms and scales that do something (their defaults are the identity)."""
    for parameter in model.parameters():
        first = parameter.flatten()[0].item()
        if (parameter == first).all():
            nn.init.uniform_(parameter, 0.5, 1.5) if first == 1 else nn.init.normal_(parameter, 0, 0.1)
    spiking = any(isinstance(module, Neuron) for module in model.modules())
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            if spiking:  # such that neurons fire at every depth
                module.running_var.mul_(0.2)
                module.bias.uniform_(0, 1.5)
    return model.double().eval()


@torch.no_grad()
def error(first: nn.Module, second: nn.Module, x: torch.Tensor) -> float:
    """Largest relative error of the outputs, a tensor or a list of maps."""
    a, b = first(x), second(x)
    a, b = (a, b) if isinstance(a, list | tuple) else ([a], [b])
    assert len(a) == len(b)
    return max(float((p - q).abs().max() / p.abs().max()) for p, q in zip(a, b, strict=True))


def norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def images(model: nn.Module) -> torch.Tensor:
    height, width = (
        (96, 80) if not model.pretrained_cfg.get('fixed_input_size') else model.pretrained_cfg['input_size'][1:]
    )
    return torch.randn(2, 3, height, width, dtype=torch.float64)


@pytest.mark.parametrize('name', variants())
@pytest.mark.parametrize(
    'features',
    [False, pytest.param(True, marks=pytest.mark.full)],  # test_export exports each family's pyramid, fused
    ids=['classifier', 'pyramid'],
)
def test_ours_are_fused_exactly(name: str, features: bool) -> None:
    if features and not facts(name).maps:
        pytest.skip('no maps')
    model = randomise(make(name, features_only=features))
    x = torch.randn(shape(name, 2, (96, 80)), dtype=torch.float64)
    fused = fuse(model)
    assert len(list(fused.parameters())) < len(list(model.parameters()))
    assert not norms(fused)
    assert error(model, fused, x) <= 1e-12
    assert not any(module.training for module in fused.modules())


@pytest.mark.parametrize('name', FOREIGN)
def test_foreign_models_are_fused_exactly(name: str) -> None:
    model = randomise(timm.create_model(name))
    fused = fuse(model)
    assert not norms(fused)
    assert error(model, fused, images(model)) <= 1e-11  # the deeper ones are not as well conditioned as ours


@pytest.mark.parametrize('name', [*smallest(), 'repvit_m0_9', 'fastvit_t8'])
def test_a_second_call_changes_nothing(name: str) -> None:
    once = fuse(randomise(shortened(timm.create_model(name))))
    twice = fuse(once)
    assert repr(once) == repr(twice)
    states = once.state_dict(), twice.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize('name', smallest())
def test_the_model_stays_as_it_is(name: str) -> None:
    model = randomise(shortened(timm.create_model(name)))
    before, text = copy.deepcopy(model.state_dict()), repr(model)
    fused = fuse(model)
    with torch.no_grad():
        for parameter in fused.parameters():
            parameter.zero_()
    assert repr(model) == text
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize('name', variants())
def test_timm_fuses_ours_too(name: str) -> None:
    model = randomise(shortened(make(name)))
    fused = timm.utils.reparameterize_model(model)
    assert not norms(fused)
    assert error(model, fused, torch.randn(shape(name, 1, (64, 96)), dtype=torch.float64)) <= 1e-12


def test_training_mode_is_refused() -> None:
    model = timm.create_model('resnet10t').eval()
    model.layer2.train()
    with pytest.raises(ValueError, match=r"'layer2'.*model\.eval\(\)"):
        fuse(model)


def test_types_devices_and_geometry_are_kept() -> None:
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2, padding_mode='reflect', bias=False)
    model = randomise(nn.Sequential(conv, nn.BatchNorm2d(6))).bfloat16()
    folded = fuse(model)[0]
    assert (folded.weight.dtype, folded.bias.dtype) == (torch.bfloat16, torch.bfloat16)
    kept = ('stride', 'padding', 'dilation', 'groups', 'padding_mode', 'kernel_size', 'in_channels', 'out_channels')
    assert [getattr(folded, name) for name in kept] == [getattr(conv, name) for name in kept]
    with torch.device('meta'):
        on_meta = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)).eval()
    assert fuse(on_meta)[0].bias.is_meta


@pytest.mark.parametrize(
    ('layer', 'norm', 'shape'),
    [
        (nn.Conv1d(4, 6, 3, bias=False), nn.BatchNorm1d(6), (2, 4, 9)),
        (nn.Conv3d(4, 6, 3), nn.BatchNorm3d(6, affine=False), (2, 4, 5, 6, 7)),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), nn.BatchNorm2d(6), (2, 4, 5, 6)),
        (nn.Linear(4, 6), nn.BatchNorm1d(6), (3, 4)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else '',
)
def test_every_linear_layer_takes_its_norm(layer: nn.Module, norm: nn.Module, shape: tuple[int, ...]) -> None:
    model = randomise(nn.Sequential(layer, norm))
    fused = fuse(model)
    assert [type(module) for module in fused] == [type(layer), nn.Identity]
    assert error(model, fused, torch.randn(shape, dtype=torch.float64)) <= 1e-14


class Standardised(nn.Conv2d):
    """A convolution whose weights are normalised when it runs: scaling them changes nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(x, self.weight / self.weight.flatten(1).norm(dim=1)[:, None, None, None], self.bias)


class Branching(nn.Module):
    """The convolution's output is used twice, so its norm must not go into it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return y + self.norm(y)


class Reversed(nn.Module):
    """Registered as convolution and norm, run the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.norm(x))


class Untraceable(nn.Module):
    """What follows the convolution depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return self.norm(y) if y.mean() < 1e9 else y


def standardised() -> nn.Module:
    return nn.Sequential(Standardised(4, 4, 3), nn.BatchNorm2d(4))


@pytest.mark.parametrize('make', [Branching, Reversed, Untraceable, standardised])
def test_norms_that_cannot_be_folded_become_scale_and_shift(make) -> None:
    model = randomise(make())
    fused = fuse(model)
    assert not norms(fused)
    assert any(isinstance(module, Affine) for module in fused.modules())
    assert error(model, fused, torch.randn(2, 4, 8, 9, dtype=torch.float64)) <= 1e-14


def test_norms_of_the_batch_are_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)).double().eval()
    fused = fuse(model)
    assert len(norms(fused)) == 1
    assert error(model, fused, torch.randn(2, 4, 8, 9, dtype=torch.float64)) == 0


def test_shared_modules_are_folded_with_each_norm() -> None:
    """Detection heads share convolutions between levels but not norms."""
    conv = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.ModuleList([nn.Sequential(conv, nn.BatchNorm2d(4)) for _ in range(2)])
    whole = nn.Sequential(*randomise(model)).eval()
    fused = fuse(whole)
    assert not norms(fused)
    assert error(whole, fused, torch.randn(2, 4, 8, 9, dtype=torch.float64)) <= 1e-14


def test_a_watched_module_keeps_its_hook() -> None:
    model = randomise(nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)))
    seen = []
    model[0].register_forward_hook(lambda module, args, output: seen.append(output))
    fused = fuse(model)
    x = torch.randn(2, 4, 8, 9, dtype=torch.float64)
    assert error(model, fused, x) <= 1e-14
    assert len(seen) == 2
    assert torch.equal(seen[0], seen[1])
