"""What is Scaling-MLP's alone: one image size, and a first layer that is made anew for another one."""

from pathlib import Path

import parity
import pytest
import timm
import torch
import torch.nn.functional as F

import backbones

RECORD = Path(__file__).parent / 'records' / 'scaling_mlp_b_6_wi_512@1000.json.gz'
SIZES = [(96, 80), (64, 64), (32, 48), (130, 40)]


@pytest.fixture(scope='module')
def published() -> dict[str, torch.Tensor]:
    return {k: torch.from_numpy(v) for k, v in parity.state_arrays(parity.load(RECORD)).items()}


@pytest.fixture
def model(published):
    model = timm.create_model('scaling_mlp_b_6_wi_512').double().eval()
    model.load_state_dict(backbones.convert(model, published))
    return model


@torch.no_grad()
@pytest.mark.parametrize('sides', SIZES, ids=str)
def test_another_size_is_the_same_as_resizing_the_image(model, published, sides):
    x = torch.randn(2, 3, *sides, dtype=torch.double)
    expected = model(F.interpolate(x, (64, 64), mode='bilinear', antialias=True))
    made = timm.create_model('scaling_mlp_b_6_wi_512', img_size=sides).double().eval()
    made.load_state_dict(backbones.convert(made, published), strict=True)
    model.set_input_size(sides)
    assert torch.allclose(model(x), expected, rtol=0, atol=1e-12 * float(expected.abs().max()))
    assert torch.allclose(made(x), expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


@torch.no_grad()
def test_the_image_is_read_channel_by_channel(model, published):
    x = torch.randn(2, 3, 64, 64, dtype=torch.double)
    expected = F.linear(x.reshape(2, -1), published['linear_in.weight'], published['linear_in.bias'])
    assert torch.allclose(model.stem(x), expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


def test_weights_of_the_large_data_set_have_their_own_classes():
    assert timm.create_model('scaling_mlp_b_6_wi_512.in21k').num_classes == 11230
    assert timm.create_model('scaling_mlp_b_6_wi_512').num_classes == 1000
