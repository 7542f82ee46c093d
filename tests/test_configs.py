"""Every config builds its model, agrees with itself, and says how to run it, what it needs and what to expect."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmpretrain')

import mm_runs
import recipes
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from backbones.layers import MixedLIF
from backbones.mm import TimmLayerDecayConstructor, build_model
from registry import without_gradient
from tools import data_checks, fit, mm_config

pytestmark = pytest.mark.usefixtures('in_root')


@pytest.mark.parametrize('path', mm_runs.CONFIGS)
def test_config_builds_and_agrees_with_itself(path):
    config = Config.fromfile(path)
    _check_head(path, config)
    steps = config.train_cfg.get('max_epochs') or config.train_cfg.max_iters
    if config.get('param_scheduler'):
        assert config.param_scheduler[-1]['end'] == steps
    for step in data_checks._parts(config.train_dataloader.dataset.pipeline):
        if isinstance(
            step.get('fill_color'), list
        ):  # of erasing, in the order of OpenCV; zero is black, as RaftMLP has it
            assert step.fill_color == config.data_preprocessor.mean[::-1]
    if config.default_scope == 'mmpretrain':
        init_default_scope('mmpretrain')
        recipes.check(path, config)
    if config.model.get('pretrained'):
        config.model.pretrained = False  # a file that the test lacks
    with torch.device('meta'):  # allocates nothing
        model = build_model(config)
    assert all(p.requires_grad for p in model.parameters())
    _check_decay(config, model)
    if 'backbone' in config.model:
        assert fit.picture_sizes(config, config.model.backbone)  # another backbone is tried at them
        assert not any(isinstance(module, MixedLIF) for module in model.modules())  # pictures do not change each other
        for part, channels in mm_runs.taking(config, list(model.backbone.channels)).items():
            assert config.model[part].in_channels == channels


def _check_decay(config: Config, model: torch.nn.Module) -> None:
    """Where Swin's rule holds, the backbone's norms and position biases do not decay, and all of the heads does."""
    rule = config.optim_wrapper.get('paramwise_cfg', {})
    if 'backbone' not in config.model or 'relative_position_bias_table' not in rule.get('custom_keys', {}):
        return
    norms = (torch.nn.LayerNorm, torch.nn.GroupNorm, torch.nn.modules.batchnorm._BatchNorm)
    exempt = {id(p) for m in model.backbone.modules() if isinstance(m, norms) for p in m.parameters(recurse=False)}
    exempt |= {id(p) for name, p in model.named_parameters() if 'relative_position_bias_table' in name}
    groups = build_optim_wrapper(model, config.optim_wrapper).optimizer.param_groups
    assert {id(p) for group in groups if group['weight_decay'] == 0 for p in group['params']} == exempt


def _check_head(path: str, config: Config) -> None:
    """It says how to run the config, what to expect, and what is needed; the rate fits the batch of that command."""
    head = (mm_runs.ROOT / path).read_text().split('\n_base_')[0]
    assert f'tools/train.py {path}' in head
    assert 'Expected' in head
    assert path in mm_runs.BUNDLED or 'Needs data/' in head
    processes = re.search(r'--nproc-per-node (\d+)', head)
    if processes or 'auto_scale_lr' in config:  # `train.py --auto-scale-lr` takes every published number of GPUs
        batch = int(processes[1] if processes else 1) * config.train_dataloader.batch_size
        assert config.auto_scale_lr.base_batch_size == batch


@pytest.mark.parametrize('path', mm_runs.one_of_each(mm_runs.DENSE))
def test_every_published_detector_and_segmentor_takes_a_step(path, tmp_path):
    """On generated pictures through its own pipeline, with its own optimizer: a finite loss, no weight left out."""
    words = mm_runs.narrow(Config.fromfile(path))
    config = mm_config.load_config(
        path, mm_config.Parser('', '').parse_args([path, '--cfg-options', *words]).cfg_options
    )
    config.model.backbone.pop('init_cfg')  # a file that the test lacks
    detects = config.default_scope == 'mmdet'
    (mm_runs.make_coco if detects else mm_runs.make_ade)(tmp_path)
    dataset = config.train_dataloader.dataset
    dataset.data_root = str(tmp_path / ('coco' if detects else 'ade'))
    mm_runs.shrink(dataset.pipeline)
    mm_runs.sample_few(config.model)
    data = pseudo_collate([DATASETS.build(dataset)[i] for i in range(2)])
    model = revert_sync_batchnorm(build_model(config)).train()
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    total, losses = model.parse_losses(model(**model.data_preprocessor(data, True), mode='loss'))
    assert all(torch.isfinite(value) for value in losses.values())
    optimizer.backward(total)
    assert without_gradient(model) == []
    optimizer.step()


@pytest.mark.parametrize('path', [*mm_runs.one_of_each(mm_runs.BUNDLED), mm_runs.RUNNABLE['classification']])
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


# Of the authors' configs, or mmdetection's: rate, decay, iterations of the warm-up, least rate, drop path.
PUBLISHED = {
    'detection/cascade-mask-rcnn_swin_tiny_fpn_1x_coco': (1e-4, 0.05, 500, 1e-6, 0.0),
    'detection/cascade-mask-rcnn_swin_base_fpn_3x_coco': (1e-4, 0.05, 500, 1e-6, 0.3),
    'detection/mask-rcnn_swin_small_fpn_3x_coco': (1e-4, 0.05, 500, 1e-6, 0.2),
    'detection/mask-rcnn_swin_tiny_fpn_ms_1x_coco': (1e-4, 0.05, 500, 1e-6, 0.1),
    'detection/mask-rcnn_swin_tiny_fpn_1x_coco': (1e-4, 0.05, 1000, 1e-6, 0.2),
    'detection/mask-rcnn_lsnet_b_fpn_1x_coco': (1e-4, 0.05, 500, 1e-6, 0.0),
    'detection/mask-rcnn_poolformer_s36_fpn_1x_coco': (2e-4, 1e-4, 500, 2e-6, 0.0),
    'detection/retinanet_raft_mlp_l_fpn_1x_coco': (1e-4, 1e-4, 500, 1e-6, 0.0),
    'detection/mask-rcnn_svt_s_fpn_1x_coco': (2e-4, 1e-4, 500, 2e-6, 0.1),
    'detection/retinanet_svt_s_fpn_1x_coco': (1e-4, 1e-4, 500, 1e-6, 0.1),
    'segmentation/fpn_lsnet_b_40k_ade20k': (2e-4, 1e-4, 0, 1e-6, 0.0),
    'segmentation/fpn_poolformer_m48_40k_ade20k': (2e-4, 1e-4, 0, 0.0, 0.0),
    'segmentation/upernet_swin_base_160k_ade20k': (6e-5, 0.01, 1500, 0.0, 0.3),
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_dense_recipes_have_the_published_rates(name: str) -> None:
    config = Config.fromfile(f'configs/{name}.py')
    optimizer, *warm_ups, last = config.optim_wrapper.optimizer, *config.param_scheduler
    least = last['eta_min'] if 'eta_min' in last else optimizer.lr * last['gamma'] ** len(last['milestones'])
    found = optimizer.lr, optimizer.weight_decay, sum(step.end for step in warm_ups), least
    assert (*found, config.model.backbone.get('drop_path_rate', 0.0)) == pytest.approx(PUBLISHED[name], rel=1e-9)


@pytest.mark.parametrize('name', ['lsnet_s', 'poolformer_s24'])
def test_semantic_fpns_of_pvt_are_measured_on_whole_multiples_of_32(name: str, tmp_path: Path) -> None:
    config = Config.fromfile(f'configs/segmentation/fpn_{name}_40k_ade20k.py')
    mm_runs.make_ade(tmp_path)
    for loader in (config.val_dataloader, config.test_dataloader):
        dataset = {**loader.dataset, 'data_root': str(tmp_path / 'ade')}
        dataset['data_prefix'] = {
            key: path.replace('validation', 'training') for key, path in dataset['data_prefix'].items()
        }
        sample = DATASETS.build(dataset)[0]
        assert sample['inputs'].shape == (3, 512, 640)  # 80x96, 512x614
        assert sample['data_samples'].gt_sem_seg.shape == (80, 96)


@pytest.mark.parametrize(('classes', 'start'), [('10', 8e-5), ('100', 1e-5)])
@pytest.mark.parametrize('name', ['swformer_4_384', 'swformer'])
def test_swformer_warms_up_from_the_published_rates(name, classes, start):
    config = Config.fromfile(f'configs/classification/{name}_cifar{classes}.py')
    warm_up = config.param_scheduler[0]
    assert warm_up.start_factor * config.optim_wrapper.optimizer.lr == pytest.approx(start)


BASES = [path for path in mm_runs.ROOT.glob('configs/_base_/*/*.py') if 'paramwise_cfg' in path.read_text()]


@pytest.mark.parametrize('path', BASES, ids=lambda path: path.stem)
def test_every_schedule_may_have_rates_by_layer(path):
    """In a config that sets what docs/training.md says."""
    config = Config.fromfile(path)
    own = dict(constructor='TimmLayerDecayConstructor', paramwise_cfg=dict(layer_decay_rate=0.8))
    config.merge_from_dict(dict(optim_wrapper=own))
    TimmLayerDecayConstructor(config.optim_wrapper, config.optim_wrapper.paramwise_cfg)


@pytest.mark.parametrize('path', [mm_runs.RUNNABLE['detection'], 'configs/classification/lsnet_t_imagenet.py'])
def test_rates_by_layer_can_be_set_on_the_command_line(path):
    """Whether a config has paramwise_cfg or not; no other constructor reads the rate."""
    constructor = {'optim_wrapper.constructor': 'TimmLayerDecayConstructor'}
    rate = {'optim_wrapper.paramwise_cfg.layer_decay_rate': 0.8}
    wrapper = mm_config.load_config(path, {**constructor, **rate}).optim_wrapper
    TimmLayerDecayConstructor(wrapper, wrapper.paramwise_cfg)
    if 'paramwise_cfg' in Config.fromfile(path).optim_wrapper:
        with pytest.raises(ValueError, match="no key 'layer_decay_rate' in optim_wrapper"):
            mm_config.load_config(path, rate)


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
