"""The registered backbones as test parameters: `@pytest.mark.parametrize('name', variants())`.

Tests state facts over the registry, never over a typed list of names. The default run takes the smallest variant of
each family, `make test-full` takes them all.
"""

import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import model_entrypoint
from torch import nn

import backbones
from backbones.base import Stage, StagedBackbone
from backbones.layers import Neuron

RECORDS = Path(__file__).parent / 'records'
STEPS = 2  # time steps in tests: what holds for two holds for sixteen, at an eighth of the cost
SMALL = 32  # pixels: the largest side of pictures that count as small


# Family -> arguments that make its models narrow and shallow.
NARROW: dict[str, dict[str, Any]] = {
    'affnet': {'stem_dims': [8, 16], 'dims': [16, 16, 32, 32], 'depths': [1, 1, 1, 1]},
    'dsm': {'dims': [16, 16, 32, 32], 'depths': [1, 1, 1, 1], 'bands': 8, 'hidden': 8},
    'lsnet': {'dims': [16, 16, 32, 32], 'depths': [0, 1, 1, 2]},
    'max_former': {'dims': [16, 24, 32], 'depths': [1, 1, 1], 'num_heads': 2},
    'max_resnet': {'stem_dim': 8, 'dims': [8, 16, 24], 'depths': [1, 1, 1]},
    'raft_mlp': {'dims': [16, 16, 32, 32], 'depths': [1, 1, 1, 1], 'kernels': [[4, 8], [2, 4], [2, 4], [2]]},
    'glnet': {'embed_dims': [32, 32, 64, 64], 'depths': [1, 1, 2, 1]},
    'ms_mlp': {'embed_dim': 20, 'depths': [1, 1, 1, 1]},
    'spartan': {'dims': [8, 16, 24, 32], 'depths': [1, 1, 1, 1]},
    'spikformer': {'embed_dim': 16, 'depth': 1, 'num_heads': 2, 'num_steps': 2},
    'spiking_resformer': {'dims': [8, 16, 24], 'depths': [1, 1, 1], 'num_heads': [1, 2, 3], 'group_size': 8},
    'strip_mlp': {'embed_dim': 16, 'depths': [1, 1, 1, 1]},
    'svt': {'stem_dim': 8, 'embed_dims': [8, 16, 16, 32], 'depths': [1, 1, 1, 1], 'num_heads': [1, 2, 2, 4]},
    'scaling_mlp': {'dim': 16, 'depth': 2},
    'fmvit': {'dims': [16, 64, 64, 64], 'depths': [1, 1, 1, 1], 'stem_dims': [16, 8, 16], 'every': [0, 1, 0, 1]},
    'qkformer': {'embed_dim': 16, 'depths': [1, 1, 1], 'num_heads': 2, 'num_steps': 2},
    'sdt': {'embed_dim': 16, 'depth': 1, 'num_steps': 2},
    'spikingformer': {'embed_dim': 16, 'depth': 1, 'num_heads': 2, 'num_steps': 2},
    'sglformer': {'embed_dim': 16, 'depth': 1, 'num_heads': 2, 'stem_dims': [4, 4, 8, 16, 16], 'num_steps': 2},
    'spikformer_semm': {'embed_dim': 16, 'depth': 1, 'expert_dim': 8, 'mlp_dim': 32, 'num_steps': 2},
    'swformer': {'embed_dim': 32, 'depth': 1, 'groups': 2, 'num_steps': 2},
    'swin_mlp': {'embed_dim': 16, 'depths': [1, 2, 1, 1], 'num_heads': [2, 2, 2, 2]},
}


@dataclass(frozen=True)
class Facts:
    """What a test has to know of a variant before it builds it."""

    parameters: int
    maps: bool  # whether it has feature maps
    any_size: bool  # whether it takes images of any size
    img_size: tuple[int, int]
    num_classes: int
    num_steps: int | None  # time steps of a network of spikes, None for all others
    clips: bool  # whether an input is a clip, in place of an image
    input_shape: tuple[int, ...]  # (B, C, H, W), or (B, T, C, H, W) of clips, with B = 1


@functools.cache
def facts(name: str) -> Facts:
    """Built on the meta device, which allocates nothing."""
    with torch.device('meta'):
        model = timm.create_model(name)
    spiking = any(isinstance(module, Neuron) for module in model.modules())
    return Facts(
        parameters=sum(p.numel() for p in model.parameters()),
        maps=model.layout != 'NC',
        any_size=model.any_size,
        img_size=model.img_size,
        num_classes=model.num_classes,
        num_steps=model.num_steps if spiking else None,
        clips=model.clips,
        input_shape=model.input_shape(),
    )


@functools.cache
def families() -> dict[str, tuple[str, ...]]:
    """Family (the name of its module file) -> its variants with a record, then the others; fewest parameters first."""
    found: dict[str, list[str]] = {}
    for name in backbones.list_models():
        found.setdefault(family(name), []).append(name)
    return {
        family: tuple(sorted(names, key=lambda name: (not has_record(name), facts(name).parameters, name)))
        for family, names in sorted(found.items())
    }


def family(name: str) -> str:
    """Name of its module file."""
    return model_entrypoint(name).__module__.rpartition('.')[2]


def has_record(name: str) -> bool:
    """Whether its published numbers are on record."""
    return (RECORDS / f'{name}.json.gz').exists()


def variants(maps: bool = False, pictures: bool = False) -> list:
    """Every registered name as a `pytest.param`: the smallest of a family as it is, the others marked `full`.

    Args:
        maps: Those alone that have feature maps.
        pictures: Those alone that take images, and no clips.
    """
    return [
        pytest.param(name, marks=[pytest.mark.full] if rank else [])
        for names in _chosen(maps, pictures)
        for rank, name in enumerate(names)
    ]


def smallest(maps: bool = False, pictures: bool = False) -> list[str]:
    """The name with the fewest parameters of each family; arguments as in `variants`."""
    return [names[0] for names in _chosen(maps, pictures)]


def _chosen(maps: bool, pictures: bool) -> list[list[str]]:
    """Names of each family that has any."""
    chosen = (
        [n for n in names if (facts(n).maps or not maps) and not (pictures and facts(n).clips)]
        for names in families().values()
    )
    return [names for names in chosen if names]


def has_public_code(name: str) -> bool:
    """Whether the family converts published checkpoints; one without a key table is a reconstruction."""
    return hasattr(sys.modules[model_entrypoint(name).__module__], 'KEYS')


def make(name: str, **kwargs: Any) -> Any:
    """`timm.create_model` with `STEPS` time steps, where a variant has any."""
    steps = {'num_steps': STEPS} if facts(name).num_steps else {}
    return timm.create_model(name, **{**steps, **kwargs})


def narrow(name: str, **kwargs: Any) -> Any:
    """A narrow and shallow network of the family, or one that is shallow alone where a variant has other stages."""
    try:
        return make(name, **NARROW[family(name)], **kwargs)
    except ValueError:
        return shortened(make(name, **kwargs)).train()


def without_gradient(model: nn.Module) -> list[str]:
    """Weights that learn and that no gradient has reached."""
    return [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]


def size(name: str, wanted: tuple[int, int]) -> tuple[int, int]:
    """The wanted (height, width) in pixels, or the only one that the variant takes.

    What is made for small pictures gets at most 32 x 48 pixels: its maps are as large as those of others at 256.
    """
    if not facts(name).any_size:
        return facts(name).img_size
    return (min(wanted[0], 32), min(wanted[1], 48)) if max(facts(name).img_size) <= SMALL else wanted


def shape(name: str, batch: int, wanted: tuple[int, int], channels: int | None = None) -> tuple[int, ...]:
    """Shape of a batch of inputs: (B, C, H, W), or (B, T, C, H, W) where the variant takes clips, of `STEPS`.

    Args:
        name: Variant.
        batch: Inputs.
        wanted: (height, width) in pixels, if the variant takes any.
        channels: C, that of the variant if None.
    """
    _, *clip, own, _, _ = facts(name).input_shape
    return (batch, *[STEPS] * len(clip), channels or own, *size(name, wanted))


def shortened(model: nn.Module) -> nn.Module:
    """One block of each stage, or two where the second is of another kind: torch traces all blocks anew, and slowly.

    A stage between the first and the last whose kinds of blocks came before it only changes resolution and width.
    """
    seen: set[tuple] = set()
    stages = [module for module in model.modules() if isinstance(module, Stage)]
    for stage in stages:
        stage.blocks = _kinds(stage.blocks)
        kinds = {_types(block) for block in stage.blocks}
        if kinds <= seen and stage is not stages[-1]:
            stage.blocks = nn.Sequential()
        seen |= kinds
    for module in model.modules():
        if isinstance(module, StagedBackbone) and module.layout == 'NC':
            module.stages = _kinds(module.stages)
    return model.eval()


def _kinds(blocks: nn.Module) -> nn.Module:
    """The first block, with the second unless it is made of the same modules with the same settings."""
    pair = blocks[:2]
    return pair[:1] if len(pair) == 2 and _settings(pair[0]) == _settings(pair[1]) else pair


def _settings(block: nn.Module) -> list[tuple]:
    return [
        (name, type(module), [(k, v) for k, v in sorted(vars(module).items()) if not k.startswith('_')])
        for name, module in block.named_modules()
    ]


def _types(block: nn.Module) -> tuple:
    return tuple((name, type(module)) for name, module in block.named_modules())
