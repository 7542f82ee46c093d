"""What is LSNet's alone: its attention biases on other grids, its published detection form, its extra level."""

from pathlib import Path

import parity
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

import backbones
from backbones.models.lsnet import Attention

RECORD = Path(__file__).parent / 'records' / 'lsnet_t.json.gz'


def tables(model: nn.Module) -> list[torch.Tensor]:
    return [p for n, p in model.named_parameters() if n.endswith('attention_biases')]


@torch.no_grad()
def test_bias_is_the_table_of_distances():
    attention = Attention(32, 4, 2, (3, 5))
    nn.init.normal_(attention.attention_biases)
    bias, table = attention.bias(3, 5), attention.attention_biases.unflatten(1, (3, 5))
    for i in range(15):
        for j in range(15):
            assert torch.equal(bias[:, i, j], table[:, abs(i // 5 - j // 5), abs(i % 5 - j % 5)])


@torch.no_grad()
@pytest.mark.parametrize('grid', [(7, 4), (1, 1), (2, 9)])
def test_bias_on_another_grid(grid):
    attention = Attention(32, 4, 2, (4, 4)).double()
    nn.init.normal_(attention.attention_biases)
    bias = attention.bias(*grid)
    table = F.interpolate(
        attention.attention_biases.unflatten(1, (4, 4))[None], grid, mode='bilinear', align_corners=True
    )[0]
    assert torch.allclose(bias[:, 0].unflatten(1, grid), table, atol=1e-12)
    attention.set_grid(grid)
    assert torch.allclose(attention.bias(*grid), bias, atol=1e-12)


@torch.no_grad()
def test_downstream_bias_is_the_resized_matrix():
    attention = Attention(32, 4, 2, (14, 14), matrix_bias=True).double()
    nn.init.normal_(attention.attention_biases)
    whole = attention.bias(14, 14)
    expected = F.interpolate(whole[None], (20, 20), mode='bicubic')[0]
    assert torch.allclose(attention.bias(4, 5), expected, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize('matrix_bias', [False, True])
def test_fused_attention_on_every_grid(matrix_bias):
    attention = Attention(32, 4, 2, (4, 4), matrix_bias).double().eval()
    nn.init.normal_(attention.attention_biases)
    fused = attention.fuse()
    for grid in ((4, 4), (3, 7), (1, 1)):
        x = torch.randn(2, 32, *grid, dtype=torch.double)
        assert torch.allclose(fused(x), attention(x), rtol=0, atol=1e-12)


def test_classification_weights_load_into_both_forms():
    state = {k: torch.from_numpy(v) for k, v in parity.state_arrays(parity.load(RECORD)).items()}
    downstream = timm.create_model('lsnet_t', downstream=True).double()
    downstream.load_state_dict(backbones.convert(downstream, state), strict=True)
    large = timm.create_model('lsnet_t', img_size=(448, 320)).double()
    large.load_state_dict(backbones.convert(large, state), strict=True)
    published = [v for k, v in state.items() if k.endswith('attention_biases')]
    assert len(published) == len(tables(downstream)) == 5
    for old, new in zip(published, tables(downstream), strict=True):
        expected = F.interpolate(old.unflatten(1, (4, 4))[None], (14, 14), mode='bicubic')[0]
        assert torch.allclose(new.unflatten(1, (14, 14)), expected, atol=1e-12)
    for old, new in zip(published, tables(large), strict=True):
        expected = F.interpolate(old.unflatten(1, (4, 4))[None], (7, 5), mode='bilinear', align_corners=True)[0]
        assert torch.allclose(new.unflatten(1, (7, 5)), expected, atol=1e-12)


@torch.no_grad()
def test_stem_feature():
    model = timm.create_model('lsnet_t', stem_feature=True, num_classes=3).eval()
    assert [i['reduction'] for i in model.feature_info] == [4, 8, 16, 32, 64]
    x = torch.randn(1, 3, 96, 70)
    maps = model.forward_intermediates(x, intermediates_only=True)
    assert [m.shape[2:] for m in maps] == [(24, 18), (12, 9), (6, 5), (3, 3), (2, 2)]
    only = timm.create_model('lsnet_t', features_only=True, stem_feature=True, out_indices=(0,)).eval()
    only.load_state_dict({f'model.{k}': v for k, v in model.state_dict().items() if k.startswith(('stem.0', 'stem.2'))})
    assert torch.equal(only(x)[0], maps[0])


def test_distilled_training_gives_both_heads():
    model = timm.create_model('lsnet_t_distill', num_classes=3).train()
    x = torch.randn(2, 3, 64, 64)
    assert model(x).shape == (2, 3)
    model.set_distilled_training(True)
    assert [y.shape for y in model(x)] == [(2, 3)] * 2
    with pytest.raises(ValueError, match='_distill'):
        timm.create_model('lsnet_t').set_distilled_training()


def test_weight_decay_leaves_bias_tables_alone():
    model = timm.create_model('lsnet_t')
    assert len(model.no_weight_decay()) == 5
