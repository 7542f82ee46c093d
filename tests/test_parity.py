"""The published numbers: every record's official state dict converts strictly and gives the official outputs."""

import json
import re
import sys
from pathlib import Path

import parity
import pytest
import timm
import torch
from timm.models import model_entrypoint

import backbones
from backbones.keys import rename
from registry import has_public_code, smallest

RECORDS = sorted((Path(__file__).parent / 'records').glob('*.json.gz'))
LIMIT = 1e-6


def _params() -> list:
    """Every record; by default run those of a family's smallest variant, without those of other options."""
    names = [path.name.removesuffix('.json.gz') for path in RECORDS]
    default = {n for n in names if re.sub(r'(_downstream)?(@\d+x\d+)?$', '', n) in smallest()}
    return [
        pytest.param(p, id=n, marks=[] if n in default else [pytest.mark.full])
        for p, n in zip(RECORDS, names, strict=True)
    ]


def official_state(record: dict) -> dict[str, torch.Tensor]:
    """The record's state dict, index tables and counters left out."""
    return {key: torch.from_numpy(value) for key, value in parity.state_arrays(record).items()}


def unused_parameters(model: torch.nn.Module, state: dict[str, torch.Tensor]) -> int:
    """Numbers of a published state dict that its own forward pass never reads, so that a family drops them."""
    table = sys.modules[type(model).__module__].KEYS
    weights = {key: value for key, value in state.items() if '.running_' not in key}
    table = {**table, '{all...}': '{all}'}  # what a family adds to its table for a variant is used
    return sum(value.numel() for key, value in weights.items() if not rename({key: value}, table))


@torch.no_grad()
@pytest.mark.parametrize('path', _params())
def test_record(path):
    record = parity.load(path)
    name, detector, form = record['name'].split('@')[0].partition('_downstream')
    assert not form
    options = record.get('options', {})
    if detector and hasattr(timm.create_model(name, num_classes=0), 'downstream'):  # others have one form alone
        options = {'downstream': True, **options}
    model = timm.create_model(name, num_classes=record['classes'], **options).double()
    model.load_state_dict(backbones.convert(model, official_state(record)), strict=True)
    images = torch.from_numpy(parity.image(record))
    logits = model.eval()(images).numpy()
    rows = len(record['features'])
    if not rows:
        assert parity.worst(record, logits, []) <= LIMIT
    else:
        one_stride = len({info['reduction'] for info in model.feature_info}) == 1
        levels = len(model.feature_info)
        assert rows == levels or detector or model.stem_taps or one_stride  # ours taps more than was recorded

        last, maps = model.forward_intermediates(images)
        if model.head_norm:
            last = model.forward_intermediates(images, indices=[-1], norm=True, intermediates_only=True)[0]
        # published code differs in whether the last level is what the final norm takes or gives
        ends = [[level.numpy() for level in (*maps[:-1], end)[-rows:]] for end in (maps[-1], last)]
        assert any(parity.worst(record, logits, levels) <= LIMIT for levels in ends)
    if 'downstream' not in options:
        unused = unused_parameters(model, official_state(record))
        assert sum(p.numel() for p in model.parameters()) in (record['params'], record['params'] - unused)


def test_every_family_with_public_code_has_records():
    recorded = {path.name.split('@')[0].split('.')[0].removesuffix('_downstream') for path in RECORDS}
    modules = {model_entrypoint(n).__module__ for n in recorded if n in backbones.list_models()}
    assert modules == {model_entrypoint(n).__module__ for n in filter(has_public_code, backbones.list_models())}
    assert recorded <= set(backbones.list_models())
    assert all(json.dumps(parity.load(path)['source']) for path in RECORDS)
