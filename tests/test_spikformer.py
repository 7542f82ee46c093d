"""What is Spikformer's alone: the whole network beside one written out in the layout of its papers, and its neurons."""

import copy
import math

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

import backbones
from backbones.layers import NEURONS, Neuron
from backbones.models.spikformer import Spikformer

SMALL = {'embed_dim': 32, 'depth': 2, 'num_heads': 2, 'num_classes': 5}
CIFAR = {**SMALL, 'patch_size': 4, 'qkv_bias': True, 'init_std': 0.02}


@torch.no_grad()
def lively(model: nn.Module) -> nn.Module:
    """`model` in float64 and eval mode, with weights by which spikes fire, and neurons of their own."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(module.weight, nonlinearity='linear')
            if module.bias is not None:
                nn.init.uniform_(module.bias, -0.1, 0.1)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 1, 3)
            nn.init.uniform_(module.bias, 0, 1)
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.1, 0.5)
        elif isinstance(module, Neuron):
            for parameter in filter(lambda p: p.requires_grad, module.parameters()):
                parameter.add_(torch.empty_like(parameter).uniform_(-0.5, 0.5))
    return model.double().eval()


def published(model: Spikformer, linear: bool, constants: bool = False) -> dict[str, torch.Tensor]:
    """The weights in the published layout: q, k, v apart, matrices (`linear`) or kernels of one axis, unused norms."""
    kind = 'linear' if linear else 'conv'
    places = {'stem.0': 'proj_{}', 'stem.1': 'proj_{}1', 'stages.0.downsample': 'proj_{}2'}
    places |= {'stages.1.downsample.patch': 'proj_{}3', 'stages.1.downsample.position': 'rpe_{}'}
    state, own = {}, model.state_dict()

    def put(name: str, place: str, rows: slice = slice(None), flat: bool = True) -> None:
        for ours, theirs in (('conv', kind if flat else 'conv'), ('norm', 'bn')):
            for part in ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked'):
                value = own.get(f'{place}.{ours}.{part}')
                if value is not None:
                    value = value[rows] if value.ndim else value
                    value = value.flatten(1) if value.ndim == 4 and flat else value
                    state[f'{name.format(theirs)}.{part}'] = (
                        value[..., None] if value.ndim == 2 and not linear else value
                    )

    for place, name in places.items():
        put(f'patch_embed.{name}', f'{place}.conv', flat=False)
    for i in range(len(model.stages[1].blocks)):
        ours, theirs, dim = f'stages.1.blocks.{i}', f'block.{i}', model.num_features
        for j, part in enumerate('qkv'):
            put(f'{theirs}.attn.{part}_{{}}', f'{ours}.attn.qkv', slice(j * dim, (j + 1) * dim))
        for name in ('attn.proj', 'mlp.fc1', 'mlp.fc2'):
            put(f'{theirs}.{name}_{{}}', f'{ours}.{name}')
        state |= {f'{theirs}.norm{n}.{p}': torch.ones(dim) for n in (1, 2) for p in ('weight', 'bias')}
    state |= {f'head.{part}': own[f'head.{part}'] for part in ('weight', 'bias')}
    if constants:
        state |= {f'patch_embed.proj_lif.{part}': torch.tensor(1.0) for part in ('threshold', 'act_fun.alpha')}
    return state


def naive(state: dict[str, torch.Tensor], image: torch.Tensor, steps: int, pools: int, heads: int) -> torch.Tensor:
    """Logits in the layout of the papers: steps, images, tokens, channels; every image is shown at every step."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, var, weight, bias = (state[f'{name}.{p}'] for p in ('running_mean', 'running_var', 'weight', 'bias'))
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def lif(x: torch.Tensor, threshold: float = 1.0) -> torch.Tensor:
        v, spikes = 0, []
        for now in x:
            h = v + (now - v) / 2
            spikes.append((h >= threshold).double())
            v = torch.where(h >= threshold, 0, h)
        rates.append(torch.stack(spikes).mean().item())
        return torch.stack(spikes)

    def layer(x: torch.Tensor, conv: str, bn: str) -> torch.Tensor:  # T B C H W
        y = F.conv2d(x.flatten(0, 1), state[f'patch_embed.{conv}.weight'], padding=1).permute(0, 2, 3, 1)
        return lif(norm(y, f'patch_embed.{bn}').permute(0, 3, 1, 2).unflatten(0, x.shape[:2]))

    def tokens(x: torch.Tensor, name: str) -> torch.Tensor:  # T B N C
        key = next(f'{name}_{kind}' for kind in ('linear', 'conv') if f'{name}_{kind}.weight' in state)
        return norm(F.linear(x, state[f'{key}.weight'].flatten(1), state.get(f'{key}.bias')), f'{name}_bn')

    rates: list[float] = []
    x = image.expand(steps, *image.shape)
    for i, suffix in enumerate(('', '1', '2', '3')):
        x = layer(x, f'proj_conv{suffix}', f'proj_bn{suffix}')
        if i >= 4 - pools:
            x = F.max_pool2d(x.flatten(0, 1), 3, 2, 1).unflatten(0, x.shape[:2])
    x = (x + layer(x, 'rpe_conv', 'rpe_bn')).flatten(3).transpose(2, 3)
    for i in range(1 + max(int(key.split('.')[1]) for key in state if key.startswith('block.'))):
        q, k, v = (lif(tokens(x, f'block.{i}.attn.{part}')).unflatten(3, (heads, -1)).transpose(2, 3) for part in 'qkv')
        y = (q @ k.transpose(3, 4) * 0.125 @ v).transpose(2, 3).flatten(3)
        x = x + lif(tokens(lif(y, 0.5), f'block.{i}.attn.proj'))
        x = x + lif(tokens(lif(tokens(x, f'block.{i}.mlp.fc1')), f'block.{i}.mlp.fc2'))
    assert all(0.02 < rate < 0.98 for rate in rates), rates
    return F.linear(x.mean((0, 2)), state['head.weight'], state['head.bias'])


@torch.no_grad()
@pytest.mark.parametrize('size', [(32, 32), (45, 70)], ids=str)
@pytest.mark.parametrize(('patch', 'linear'), [(4, True), (8, False), (16, False)])
def test_network_is_its_papers(patch: int, linear: bool, size: tuple[int, int]) -> None:
    options = CIFAR if linear else {**SMALL, 'patch_size': patch}
    model = lively(Spikformer(**options, num_steps=3))
    state = published(model, linear, constants=linear)
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    expected = naive(state, image, 3, int(math.log2(patch)), 2)
    assert torch.allclose(model(image), expected, rtol=1e-12, atol=1e-12)
    loaded = Spikformer(**options, num_steps=3).double().eval()
    loaded.load_state_dict(backbones.convert(loaded, state), strict=True)
    assert torch.equal(loaded(image), model(image))


@torch.no_grad()
def test_levels_are_means_over_time() -> None:
    model = lively(Spikformer(**CIFAR))
    seen = {}
    for info in model.feature_info:
        model.get_submodule(info['module']).register_forward_hook(
            lambda module, inputs, output, name=info['module']: seen.update({name: output})
        )
    maps = model.forward_intermediates(torch.randn(2, 3, 40, 32).double(), intermediates_only=True)
    assert [info['reduction'] for info in model.feature_info] == [1, 2, 4]
    for level, info in zip(maps, model.feature_info, strict=True):
        steps = seen[info['module']]
        assert torch.equal(steps, steps.round()) and len(steps) == 8
        assert torch.allclose(level, (steps[:2] + steps[2:4] + steps[4:6] + steps[6:]) / 4)


def test_first_layer_runs_once() -> None:
    """In training too: the same maps and gradients as with the image at every step, and all but the same statistics."""
    once = lively(Spikformer(**CIFAR)).train()
    every = copy.deepcopy(once)
    every.stem[0].repeat = nn.Identity()
    every.encode = lambda x: x.repeat(4, 1, 1, 1)
    image = torch.randn(2, 3, 32, 32).double()
    a, b = once(image), every(image)
    assert torch.allclose(a, b, atol=1e-12)
    a.square().sum().backward()
    b.square().sum().backward()
    for (key, p), q in zip(once.named_parameters(), every.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=1e-6, atol=1e-10), key
    first, second = once.stem[0].conv.norm, every.stem[0].conv.norm
    assert torch.allclose(first.running_mean, second.running_mean)
    n = 2 * 32 * 32
    before = lively(Spikformer(**CIFAR)).stem[0].conv.norm.running_var
    ratio = (first.running_var - 0.9 * before) / (second.running_var - 0.9 * before)
    assert torch.allclose(ratio, torch.full_like(ratio, n / (n - 1) * (4 * n - 1) / (4 * n)), rtol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize('name', NEURONS)
def test_neuron_stands_everywhere(name: str) -> None:
    model = lively(timm.create_model('spikformer_cifar', neuron=name, **SMALL))
    neurons = [module for module in model.modules() if isinstance(module, Neuron)]
    learns = bool(list(neurons[0].parameters()))
    assert {type(neuron) for neuron in neurons} == {type(neurons[0])}
    assert len(neurons) == 5 + 2 * (7 if learns else 5)  # those of q, k and v learn apart
    rates = []
    for neuron in neurons:
        neuron.register_forward_hook(lambda module, inputs, output: rates.append((output > 0).double().mean().item()))
    a, b = model(torch.randn(2, 3, 32, 32).double()), model(torch.randn(2, 3, 32, 32).double())
    assert a.isfinite().all() and not torch.allclose(a, b)
    assert 0.02 < sum(rates) / len(rates) < 0.98


@torch.no_grad()
@pytest.mark.parametrize('part', range(3))
def test_queries_keys_and_values_learn_apart(part: int) -> None:
    model = lively(timm.create_model('spikformer_cifar', neuron='plif', **SMALL))
    image = torch.randn(1, 3, 32, 32).double()
    before = model(image)
    model.stages[1].blocks[0].attn.qkv_neuron[part].w -= 4
    assert not torch.equal(model(image), before)


def test_constants_of_the_exponential_neuron_are_dropped() -> None:
    model = lively(timm.create_model('spikformer_cifar', neuron='eif', **SMALL))
    state = published(model, linear=True)
    state |= {f'block.0.attn.q_lif.{part}': torch.tensor(0.8) for part in ('delta_T', 'theta_rh', 'tau', 'threshold')}
    model.load_state_dict(backbones.convert(model, state), strict=True)


@torch.no_grad()
def test_other_numbers_of_steps() -> None:
    model = lively(Spikformer(**CIFAR))
    twin = Spikformer(**CIFAR, num_steps=2).double().eval()
    twin.load_state_dict(model.state_dict())
    image = torch.randn(1, 3, 32, 32).double()
    before = model(image)
    model.set_num_steps(2)
    assert torch.equal(model(image), twin(image)) and not torch.equal(model(image), before)


def test_published_first_weights() -> None:
    model = timm.create_model('spikformer_cifar')
    for conv in (model.stages[1].blocks[0].attn.qkv.conv, model.stages[1].blocks[3].mlp.fc2.conv, model.head):
        assert conv.weight.std().item() == pytest.approx(0.02, rel=0.05) and not conv.bias.any()
    block = Spikformer(**SMALL).stages[1].blocks[0]
    assert block.attn.qkv.conv.bias is None and block.attn.proj.conv.bias.any()
    assert timm.create_model('spikformer_imagenet', **SMALL).stages[1].blocks[0].attn.proj.conv.bias is None


def test_codes_of_brightness_get_brightness() -> None:
    for encoding in ('rate', 'ttfs', 'phase'):
        cfg = timm.data.resolve_model_data_config(timm.create_model('spikformer_cifar', encoding=encoding))
        assert (cfg['mean'], cfg['std']) == ((0, 0, 0), (1, 1, 1))


def test_mistakes() -> None:
    for options, words in (
        ({'embed_dim': 20}, 'an embed_dim that 8 divides'),
        ({'depth': 0}, 'a depth of at least 1'),
        ({'patch_size': 32}, 'one of 4, 8, 16 pixels, but got 32'),
        ({'num_heads': 5}, 'must divide the 32 channels'),
        ({'neuron': 'izhikevich'}, 'neuron must be one of lif'),
        ({'num_steps': 0}, 'whole number of at least 1'),
    ):
        with pytest.raises(ValueError, match=words):
            Spikformer(**{**SMALL, **options})


@pytest.mark.full
@pytest.mark.parametrize(
    'options', [*({'neuron': n} for n in NEURONS), {'encoding': 'ttfs'}, {'encoding': 'phase'}], ids=str
)
def test_exports(options: dict, tmp_path) -> None:
    pytest.importorskip('onnxscript')
    import onnx

    from backbones.deploy import export_onnx

    model = lively(timm.create_model('spikformer_cifar', **SMALL, **options)).float()
    report = export_onnx(model, tmp_path / 'model.onnx', input_size=(3, 64, 64))
    kinds = {node.op_type for node in onnx.load(report.path).graph.node}
    assert not kinds & {'Loop', 'Scan', 'If', 'SequenceAt', 'BatchNormalization'}
