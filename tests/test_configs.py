"""Every config builds its model, agrees with itself, and says how to run it, what it needs and what to expect."""

import json
import re

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


@pytest.fixture(autouse=True)
def _in_root(monkeypatch):
    monkeypatch.chdir(mm_runs.ROOT)


@pytest.mark.parametrize('path', mm_runs.CONFIGS)
def test_config_builds_and_agrees_with_itself(path):
    config = Config.fromfile(path)
    _check_head(path, config)
    steps = config.train_cfg.get('max_epochs') or config.train_cfg.max_iters
    if config.get('param_scheduler'):
        assert config.param_scheduler[-1]['end'] == steps
    if config.model.get('pretrained'):
        config.model.pretrained = False  # a file that the test lacks
    with torch.device('meta'):  # allocates nothing
        model = build_model(config)
    assert all(p.requires_grad for p in model.parameters())
    if 'backbone' in config.model:
        channels = list(model.backbone.channels)
        assert channels == config.model['neck' if 'neck' in config.model else 'decode_head'].in_channels
        if 'auxiliary_head' in config.model:
            assert channels[config.model.auxiliary_head.in_index] == config.model.auxiliary_head.in_channels


def _check_head(path: str, config: Config) -> None:
    """It says how to run the config, what to expect, and what is needed; the rate fits the batch of that command."""
    head = (mm_runs.ROOT / path).read_text().split('\n_base_')[0]
    assert f'tools/train.py {path}' in head
    assert 'Expected' in head
    assert path in mm_runs.BUNDLED or 'Needs data/' in head
    processes = re.search(r'--nproc-per-node (\d+)', head)
    if 'auto_scale_lr' in config:
        batch = int(processes[1] if processes else 1) * config.train_dataloader.batch_size
        assert config.auto_scale_lr.base_batch_size == batch


@pytest.mark.parametrize('path', [*mm_runs.BUNDLED, mm_runs.RUNNABLE['classification']])
def test_config_runs_on_data_at_hand(path, tmp_path):
    config = Config.fromfile(path)
    init_default_scope(config.default_scope)
    if path not in mm_runs.BUNDLED:
        mm_runs.make_cifar10(tmp_path)
        config.merge_from_dict(
            {f'{s}_dataloader.dataset.data_root': str(tmp_path / 'cifar10') for s in ('train', 'test')}
        )
    for split in ('train', 'test'):
        dataset = DATASETS.build(config[f'{split}_dataloader'].dataset)
        samples = [dataset[i] for i in range(4)]
        assert all(isinstance(sample['inputs'], torch.Tensor) for sample in samples)
        assert sum(_labels(sample['data_samples']) for sample in samples) > 0


def _labels(sample) -> int:
    """Classes or objects that a picture has; objects that a training would ignore do not count."""
    for name in ('gt_label', 'gt_instances'):
        if name in sample:
            return len(sample.get(name))
    return len(sample.gt_sem_seg.data.unique())


def test_splits_share_no_picture():
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
