"""Every config builds its model and says how to run it and what to expect."""

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmpretrain')

import mm_runs
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from backbones.mm import build_model

CONFIGS = sorted(str(path.relative_to(mm_runs.ROOT)) for path in mm_runs.ROOT.glob('configs/[!_]*/*.py'))


@pytest.fixture(autouse=True)
def _in_root(monkeypatch):
    monkeypatch.chdir(mm_runs.ROOT)


@pytest.mark.parametrize('path', CONFIGS)
def test_config_builds(path):
    model = build_model(path)
    parameters = dict(model.named_parameters())
    assert all(p.requires_grad for p in parameters.values())
    head = (mm_runs.ROOT / path).read_text().split('_base_')[0]
    assert f'tools/train.py {path}' in head
    assert 'Expected' in head


@pytest.mark.parametrize('task', mm_runs.RUNNABLE)
def test_config_runs_on_data_at_hand(task, tmp_path):
    config = Config.fromfile(mm_runs.RUNNABLE[task])
    init_default_scope(config.default_scope)
    if task == 'classification':
        mm_runs.make_cifar10(tmp_path)
        config.merge_from_dict(
            {f'{s}_dataloader.dataset.data_root': str(tmp_path / 'cifar10') for s in ('train', 'test')}
        )
    for split in ('train', 'test'):
        dataset = DATASETS.build(config[f'{split}_dataloader'].dataset)
        assert len(dataset) > 0
        assert isinstance(dataset[0]['inputs'], torch.Tensor)


def test_splits_share_no_picture():
    import json

    for name, splits in (('bccd', ('train', 'val', 'test')), ('nuclei', ('train', 'val'))):
        files = [
            {image['file_name'] for image in json.loads((mm_runs.ROOT / f'data/{name}/{s}.json').read_text())['images']}
            for s in splits
        ]
        assert len(set.union(*files)) == sum(map(len, files))
        for split, listed in zip(splits, files, strict=True):
            text = mm_runs.ROOT / f'data/{name}/{split}.txt'
            if text.exists():
                assert {f'{stem}.jpg' for stem in text.read_text().split()} == listed
