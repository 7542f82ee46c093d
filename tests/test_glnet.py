"""What is GLNet's alone: its slots, its pooling, its two forms, its head of tokens, and what becomes of them fused."""

from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

import backbones
from backbones.deploy import fuse
from backbones.layers import (
    MapDepthwise,
    NormConvMlp,
    ResidualDepthwise,
    SelfAttention,
    Transition,
    adaptive_pool,
    pool_matrix,
)
from backbones.layers.conv_norm import BatchNorm2d
from backbones.models.glnet import Block, GLMix, MapAttention

SMALL = {'embed_dims': (32, 32, 64, 64), 'depths': (1, 1, 2, 1)}


def lively(model: nn.Module) -> nn.Module:
    """`model` in float64 and eval mode, with weights, norms and scales that do something."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.5 if parameter.ndim < 2 else 0.0, 0.2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    return model.double().eval()


def reference_attention(layer: SelfAttention, x: torch.Tensor) -> torch.Tensor:
    """PyTorch's own operator, which the published code calls."""
    y, _ = F.multi_head_attention_forward(
        *(x.transpose(0, 1),) * 3, x.shape[-1], layer.num_heads, layer.qkv.weight, layer.qkv.bias, None, None, False,
        0.0, layer.proj.weight, layer.proj.bias, training=False, need_weights=False,
    )  # fmt: skip
    return y.transpose(0, 1)


@torch.no_grad()
@pytest.mark.parametrize('size', [(28, 14), (7, 9), (3, 1), (8, 16)], ids=str)
def test_pooling_by_matrices(size):
    x = torch.randn(2, *size, 5, dtype=torch.double)
    expected = F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), 8).flatten(2).mT
    tall, wide = (pool_matrix(8, side, x) for side in size)
    found = torch.einsum('ih,jw,bhwc->bijc', tall, wide, x).flatten(1, 2)
    assert torch.allclose(found, expected, atol=1e-14)
    assert torch.allclose(adaptive_pool(x, 8), expected, atol=1e-14)


class Pool(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return adaptive_pool(x, 8)


@torch.no_grad()
@pytest.mark.parametrize('free', [True, False])
def test_pooling_in_exports(free):
    x = torch.randn(2, 20, 33, 5, dtype=torch.double)
    sides = {0: torch.export.Dim('b'), 1: torch.export.Dim('h'), 2: torch.export.Dim('w')}
    program = torch.export.export(Pool(), (x,), dynamic_shapes=(sides,) if free else None).module()
    for shape in [(3, 9, 17, 5), (2, 64, 3, 5)] if free else [x.shape]:
        x = torch.randn(shape, dtype=torch.double)
        assert torch.allclose(program(x), adaptive_pool(x, 8), atol=1e-13)


@torch.no_grad()
@pytest.mark.parametrize('tokens', [1, 64, 49])
def test_attention_is_that_of_the_published_weights(tokens):
    layer = lively(SelfAttention(32, 4))
    x = torch.randn(2, tokens, 32, dtype=torch.double)
    assert torch.allclose(layer(x), reference_attention(layer, x), atol=1e-12)
    with pytest.raises(ValueError, match='5 heads for 32 channels'):
        SelfAttention(32, 5)


@torch.no_grad()
@pytest.mark.parametrize('learned', [False, True])
def test_slots_gather_and_spread(learned):
    """The equation position by position, slot by slot."""
    mixer = lively(GLMix(16, 2, 16, learned))
    x = torch.randn(2, 6, 5, 16, dtype=torch.double)
    before = torch.randn(2, 6, 5, 16, dtype=torch.double)
    slots = mixer.slots(before)
    assert slots.shape == (2, 16, 16)
    if not learned:
        assert torch.allclose(slots, F.adaptive_avg_pool2d(before.permute(0, 3, 1, 2), 4).flatten(2).mT)
    tokens = x.flatten(1, 2)
    logits = mixer.slot_scale * F.cosine_similarity(slots[:, :, None], tokens[:, None], dim=-1)  # B S N
    gathered = torch.stack(
        [sum(w[:, n, None] * tokens[:, n] for n in range(30)) for w in logits.softmax(2).unbind(1)], 1
    )
    updated = reference_attention(mixer.attention, gathered)
    spread = torch.einsum('bsn,bsc->bnc', logits.softmax(1), updated)
    first, spatial, last = mixer.local
    y = F.conv2d(x.permute(0, 3, 1, 2), first.weight[:, :, None, None], first.bias)
    y = F.conv2d(y, spatial.weight, spatial.bias, padding=2, groups=16)
    y = F.conv2d(y, last.weight[:, :, None, None], last.bias)
    expected = spread.unflatten(1, (6, 5)) + y.permute(0, 2, 3, 1)
    assert torch.allclose(mixer(x, slots), expected, atol=1e-12)


@torch.no_grad()
def test_positions_of_zero_length_stay_finite():
    mixer = GLMix(16, 2, 16)
    assert mixer(torch.zeros(1, 5, 5, 16), torch.zeros(1, 16, 16)).isfinite().all()


def test_gradients_at_positions_of_zero_length_are_finite():
    mixer, x = GLMix(16, 2, 16), torch.zeros(1, 5, 5, 16, requires_grad=True)
    mixer(x, mixer.slots(x)).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


@torch.no_grad()
def test_slots_start_from_what_the_position_has_not_touched():
    block = lively(Block(16, GLMix(16, 2, 16), NormConvMlp(16, 48, residual=True), True, 0.5))
    x = torch.randn(1, 7, 6, 16, dtype=torch.double)
    z = x + F.conv2d(x.permute(0, 3, 1, 2), block.position.weight, block.position.bias, padding=1, groups=16).permute(
        0, 2, 3, 1
    )
    u = z + block.scale1.gamma * block.mixer(
        F.layer_norm(z, (16,), block.norm.weight, block.norm.bias, 1e-6), adaptive_pool(x, 4)
    )
    expected = u + block.scale2.gamma * block.mlp(u)
    assert torch.allclose(block(x), expected, atol=1e-12)


@torch.no_grad()
def test_channel_mixer_sees_its_neighbours():
    mlp = lively(NormConvMlp(8, 24, residual=True))
    x = torch.randn(2, 5, 4, 8, dtype=torch.double)
    h = mlp.fc1(mlp.norm(x)).permute(0, 3, 1, 2)
    h = h + F.conv2d(h, mlp.spatial.weight, mlp.spatial.bias, padding=1, groups=24)
    assert torch.allclose(mlp(x), mlp.fc2(F.gelu(h).permute(0, 2, 3, 1)), atol=1e-12)


@pytest.mark.parametrize('side', [3, 5])
def test_gradients_of_depthwise_layers(side):
    for kind in (MapDepthwise, ResidualDepthwise):
        layer = kind(6, side).double()
        x = torch.randn(3, 6, 9, 6, dtype=torch.double, requires_grad=True)
        seed = torch.randn(3, 6, 9, 6, dtype=torch.double)
        found = torch.autograd.grad(layer(x), [x, layer.weight, layer.bias], seed)
        y = F.conv2d(x.permute(0, 3, 1, 2), layer.weight, layer.bias, padding=side // 2, groups=6).permute(0, 2, 3, 1)
        expected = torch.autograd.grad(x + y if kind is ResidualDepthwise else y, [x, layer.weight, layer.bias], seed)
        for a, b in zip(found, expected, strict=True):
            assert torch.allclose(a, b, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize('kind', ['glmix', 'attention'])
def test_fused_block_is_exact(kind):
    mixer = GLMix(32, 4, 16) if kind == 'glmix' else MapAttention(32, 4)
    block = lively(Block(32, mixer, NormConvMlp(32, 96, residual=True), True, 0.5))
    x = torch.randn(2, 7, 6, 32, dtype=torch.double)
    fused = fuse(nn.Sequential(block).eval())
    assert (block(x) - fused(x)).abs().max() <= 1e-12 * block(x).abs().max()
    gone = {'ResidualDepthwise', 'LayerScale'}
    assert not gone & {type(module).__name__ for module in fused.modules()}


@torch.no_grad()
@pytest.mark.parametrize('size', [(8, 6), (7, 5)], ids=str)
def test_a_norm_in_front_goes_into_the_convolution(size):
    """Odd sides too, whose zeros are added in front of both."""
    layer = lively(Transition(2, BatchNorm2d(6), nn.Conv2d(6, 10, 2, 2)))
    x = torch.randn(2, *size, 6, dtype=torch.double)
    fused = layer.fuse()
    assert len(fused) == 1 and isinstance(fused[0], nn.Conv2d)
    assert fused(x).shape == (2, -(-size[0] // 2), -(-size[1] // 2), 10)
    assert torch.allclose(layer(x), fused(x), atol=1e-12)
    with pytest.raises(ValueError, match='evaluation mode'):
        layer.train().fuse()


@torch.no_grad()
@pytest.mark.parametrize('name', ['glnet_stl', 'glnet_16g', 'glnet_4g_tklb'])
def test_fused_model_is_exact(name):
    model = lively(timm.create_model(name, num_classes=9, **SMALL))
    x = torch.randn(2, 3, 70, 45, dtype=torch.double)
    y, fused = model(x), fuse(model)
    assert (y - fused(x)).abs().max() <= 1e-11 * y.abs().max()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())


@torch.no_grad()
def test_token_labels_add_the_best_token():
    model = lively(timm.create_model('glnet_4g_tklb', num_classes=9, **SMALL))
    x = torch.randn(2, 3, 64, 96, dtype=torch.double)
    tokens = model.forward_features(x).flatten(2).mT
    best = torch.stack([model.head.aux(token) for token in tokens.unbind(1)]).max(0).values
    assert torch.allclose(model(x), model.head.cls(tokens.mean(1)) + best / 2, atol=1e-12)
    model.reset_classifier(5, 'catavgmax')
    assert model.head.cls.in_features == 128 and model.head.aux.in_features == 64
    model.reset_classifier(0, 'avg')
    assert torch.allclose(model(x), tokens.mean(1))


def test_published_initialisation_and_rates():
    model = timm.create_model('glnet_stl', drop_path_rate=0.1)
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    assert [getattr(b.drop_path, 'drop_prob', 0.0) for b in blocks] == pytest.approx([0.1 * i / 11 for i in range(12)])
    assert all(b.mixer.slot_scale.item() == pytest.approx(b.norm.weight.numel() ** -0.5) for b in blocks[:10])
    attention = blocks[-1].mixer
    assert attention.qkv.weight.abs().max() <= (6 / (4 * 768)) ** 0.5
    assert not attention.qkv.bias.any() and not attention.proj.bias.any()
    # linear layers that the published code writes as convolutions keep PyTorch's initialisation
    assert abs(blocks[-1].mlp.fc1.weight.std().item() - 0.02) < 0.001 and not blocks[-1].mlp.fc1.bias.any()
    assert abs(blocks[0].mlp.fc1.weight.std().item() - (3 * 96) ** -0.5) < 0.003 and blocks[0].mlp.fc1.bias.any()
    learned = timm.create_model('glnet_stl_paramslot', **SMALL).stages[0].blocks[0].mixer.init_slots
    assert learned.shape == (1, 64, 32) and abs(learned.std().item() - 0.02) < 0.002
    scaled = timm.create_model('glnet_16g', **SMALL)
    assert all((m.gamma == 1e-4).all() for n, m in scaled.named_modules() if n.endswith('scale1'))


@pytest.mark.parametrize(('name', 'taken'), [('glnet_16g', 'model_ema'), ('glnet_4g', 'model')])
def test_published_files_give_the_weights_that_were_evaluated(name, taken):
    model = timm.create_model(name, num_classes=9, **SMALL)
    own = model.state_dict()
    rows = {
        'stem.': 'downsample_layers.0.',
        'norm.0.': 'norm.',
        '.downsample.': '.',
        '.scale1.': '.ls1.',
        '.scale2.': '.ls2.',
        '.mlp.norm.': '.norm2.',
        '.norm.': '.norm1.',
        '.position.': '.pos_conv.',
        '.mlp.fc1.': '.mlp.0.',
        '.mlp.spatial.': '.mlp.1.',
        '.mlp.fc2.': '.mlp.3.',
        '.mixer.slot_scale': '.slot_scale',
        '.mixer.local.': '.feature_conv.',
        '.mixer.attention.proj.': '.relation_mha.out_proj.',
        '.mixer.attention.qkv.': '.relation_mha.in_proj_',
        '.mixer.proj.': '.mha_op.out_proj.',
        '.mixer.qkv.': '.mha_op.in_proj_',
    }
    published = {}
    for key, value in own.items():
        old = key.replace('stages.', 'downsample_layers.') if '.downsample.' in key else key
        for ours, theirs in rows.items():
            old = old.replace(ours, theirs)
        published[old] = value
    file = {
        key: {k: torch.full_like(v, i) for k, v in published.items()} for i, key in enumerate(('model', 'model_ema'))
    }
    state = backbones.convert(model, {**file, 'optimizer': {'lr': 1}, 'epoch': 299})
    value = float(taken == 'model_ema')
    assert all((v == value).all() for k, v in state.items())


def test_wrong_arguments():
    for change, message in (
        ({'depths': (1, 1)}, 'for each stage'),
        ({'depths': (1, 0, 1, 1)}, 'at least 1'),
        ({'mixers': ('glmix', 'glmix', 'mha', 'attention')}, "of 'glmix', 'hybrid', 'attention'"),
        ({'head_dim': 48}, 'must divide the channels'),
        ({'num_slots': 60}, 'square number'),
        ({'kernel_size': 4}, 'must be odd'),
    ):
        with pytest.raises(ValueError, match=message):
            timm.create_model('glnet_4g', **change)
    timm.create_model('glnet_stl_paramslot', **SMALL, num_slots=60)


def test_onnx_pools_by_constants(tmp_path: Path):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    from backbones.deploy import export_onnx

    model = timm.create_model('glnet_4g_tklb', num_classes=9, **SMALL).eval()
    report = export_onnx(model, tmp_path / 'model.onnx', input_size=(3, 96, 64), batch_size=1, dynamic=False)
    kinds = set(report.operators)
    assert not {'GatherND', 'Range', 'Shape', 'AveragePool', 'Pad', 'Einsum'} & kinds
    # two in the stem, three between stages, and a position and a channel mixer in each block, with one for local ones
    assert report.operators['Conv'] == 2 + 3 + 2 * 5 + 3
