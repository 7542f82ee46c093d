"""The published numbers: every record's official state dict converts strictly and gives the official outputs."""

import json
from pathlib import Path

import parity
import pytest
import timm
import torch
from timm.models import model_entrypoint

import backbones
from registry import smallest

RECORDS = sorted((Path(__file__).parent / 'records').glob('*.json.gz'))
LIMIT = 1e-6


def _params() -> list:
    """Every record; those of a family's smallest variant run by default."""
    names = [path.name.removesuffix('.json.gz') for path in RECORDS]
    default = {n for n in names if n.split('@')[0].removesuffix('_downstream') in smallest()}
    return [
        pytest.param(p, id=n, marks=[] if n in default else [pytest.mark.full])
        for p, n in zip(RECORDS, names, strict=True)
    ]


def official_state(record: dict) -> dict[str, torch.Tensor]:
    """The record's state dict, index tables and counters left out."""
    return {key: torch.from_numpy(value) for key, value in parity.state_arrays(record).items()}


@torch.no_grad()
@pytest.mark.parametrize('path', _params())
def test_record(path):
    record = parity.load(path)
    name, _, form = record['name'].split('@')[0].partition('_downstream')
    options = {'downstream': True} if '_downstream' in record['name'] else {}
    assert not form
    model = timm.create_model(name, num_classes=record['classes'], **options, **record.get('options', {})).double()
    model.load_state_dict(backbones.convert(model, official_state(record)), strict=True)
    images = torch.from_numpy(parity.image(record))
    features = model.eval().forward_intermediates(images, intermediates_only=True)
    logits = model(images)
    assert parity.worst(record, logits.numpy(), [f.numpy() for f in features]) <= LIMIT
    if not options:
        assert sum(p.numel() for p in model.parameters()) == record['params']


def test_every_family_has_records():
    recorded = {path.name.split('@')[0].split('.')[0].removesuffix('_downstream') for path in RECORDS}
    modules = {model_entrypoint(n).__module__ for n in recorded if n in backbones.list_models()}
    assert modules == {model_entrypoint(n).__module__ for n in backbones.list_models()}
    assert recorded <= set(backbones.list_models())
    assert all(json.dumps(parity.load(path)['source']) for path in RECORDS)
