"""Small runs of the runnable configs: a narrow model, a few pictures, one or two epochs."""

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmengine.config.utils
import mmengine.runner.runner
import numpy as np
import pytest
import safetensors.torch
import torch
import yapf.yapflib.yapf_api
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS
from PIL import Image

from backbones.mm import build_model, feature_channels
from registry import NARROW, family
from tools import mm_config
from tools import train as train_tool

# What mmengine does over again for every config and every run, at a higher cost than the runs here: it reads all model
# indices of the package that a base comes from, formats the config for its log, and asks the compiler for its version.
mmengine.config.utils.load = functools.cache(mmengine.config.utils.load)
mmengine.runner.runner.collect_env = functools.cache(mmengine.runner.runner.collect_env)
yapf.yapflib.yapf_api.FormatCode = lambda text, **style: (text, True)

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob('configs/[!_]*/*.py'))
# Those whose data come with the project.
BUNDLED = [path for path in CONFIGS if not re.search('imagenet|coco|ade20k|cifar10', path)]
# Trainings of classifiers on pictures that do not.
RECIPES = [path for path in CONFIGS if 'classification' in path and path not in BUNDLED]
# Published trainings of detectors and segmentors.
DENSE = [path for path in CONFIGS if re.search('coco|ade20k', path)]
# One of each task, which tests that need no more than that use.
RUNNABLE = {
    'detection': 'configs/detection/retinanet_lsnet_t_fpn_bccd.py',
    'instance': 'configs/detection/mask_rcnn_lsnet_t_fpn_nuclei.py',
    'segmentation': 'configs/segmentation/fpn_lsnet_t_nuclei.py',
    'classification': 'configs/classification/lsnet_t_cifar10.py',
}


def one_of_each(paths: list[str]) -> list:
    """Configs as test parameters: the last one of each head, data and length as it is, all others marked `full`.

    Of classifiers the last one of each schedule.
    """
    last = {_kind(path): path for path in paths}.values()
    return [path if path in last else pytest.param(path, marks=pytest.mark.full) for path in paths]


def _kind(path: str) -> tuple[str, ...]:
    words = Path(path).stem.split('_')
    if 'classification' in path:
        return _schedule(ROOT / path)
    return words[0], *re.findall(r'\d+[xek](?=_)', path), words[-1]


def _schedule(path: Path) -> tuple[str, ...]:
    """Of a classifier's config, from the base that names one, with a teacher where there is one."""
    text = path.read_text()
    found, base = re.findall(r'schedules/\w+', text), re.search(r"_base_ = \['(\w+\.py)'\]", text)
    teacher = ('teacher',) * ('teacher=' in text)
    return (*found, *teacher) if found or not base else (*_schedule(path.with_name(base[1])), *teacher)


def task_of(config: Config) -> str:
    """A key of `RUNNABLE`."""
    scope = {'mmdet': 'detection', 'mmseg': 'segmentation', 'mmpretrain': 'classification'}[config.default_scope]
    return 'instance' if 'mask_head' in config.model.get('roi_head', {}) else scope


def options(config: str, epochs: int, folder: Path) -> list[str]:
    """Words after ``--cfg-options`` that make a run of a few seconds, two iterations an epoch.

    Args:
        config: A path, or a task for its config in `RUNNABLE`.
        epochs: Length of the run.
        folder: Where `make_cifar10` or `make_imagenet` put pictures.
    """
    settings = Config.fromfile(ROOT / RUNNABLE.get(config, config))
    words = narrow(settings)
    for split, pictures in (('train', 4), ('val', 2), ('test', 2)):
        loader = f'{split}_dataloader'
        words += [f'{loader}.num_workers=0', f'{loader}.batch_size=2', f'{loader}.dataset.indices={pictures}']
        if 'persistent_workers' in settings[loader]:
            words.append(f'{loader}.persistent_workers=False')
        for generated in ('cifar10', 'imagenet'):
            if generated in settings[loader].dataset.data_root:
                words.append(f'{loader}.dataset.data_root={folder / generated}')
    words += _small(settings)
    if 'teacher' in settings.model:  # whose weights a test lacks
        words += ['model.teacher.model_name=test_resnet', 'model.teacher.pretrained=False']
    if task_of(settings) == 'segmentation':
        every, length = 2, f'train_cfg.max_iters={2 * epochs}'
    else:
        every, length = 1, f'train_cfg.max_epochs={epochs}'
    words += [length, f'train_cfg.val_interval={every}', f'default_hooks.checkpoint.interval={every}']
    return words


def train_words(
    config: str | Path, folder: Path, epochs: int, work: str, *args: str, extra: Sequence[str] = ()
) -> list[str]:
    """Command line of `tools/train.py` for a run of a few seconds.

    Args:
        config: A path, or a task for its config in `RUNNABLE`.
        folder: Where the pictures are.
        epochs: Length of the run.
        work: Name of the work folder in it.
        *args: Further words.
        extra: Further words after ``--cfg-options``.
    """
    words = [*options(str(config), epochs, folder), *extra]
    return [str(config), '--work-dir', str(folder / work), *args, '--cfg-options', *words]


def train(*args: Any, **kwargs: Any) -> int:
    """Exit code of `tools/train.py`, called with `train_words`."""
    return train_tool.main(train_words(*args, **kwargs))


def said(capsys: pytest.CaptureFixture) -> str:
    """The sentence that `tools/train.py` said last."""
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith('train.py: ')
    return line


def narrow(settings: Config) -> list[str]:
    """A narrow backbone for pictures of 64x64, and the channels of what follows it."""
    inside = 'backbone' in settings.model
    backbone = settings.model.backbone if inside else settings.model
    slim = dict(NARROW.get(family(backbone.model_name), {}))  # timm's own networks stay as they are
    if 'img_size' in backbone:
        slim['img_size'] = 64
    words = [f'model.{"backbone." * inside}{key}={_word(value)}' for key, value in slim.items()]
    if not inside:
        return words + ['model.pretrained=False'] * ('pretrained' in backbone)
    channels = feature_channels(**{key: value for key, value in {**backbone, **slim}.items() if key != 'type'})
    return words + [f'model.{part}.in_channels={_word(taken)}' for part, taken in taking(settings, channels).items()]


def rates(config: Config, length: int = 4) -> list[float]:
    """The learning rates that mmengine makes of a config of epochs, one for each iteration.

    Args:
        config: Config with a `param_scheduler`.
        length: Iterations of an epoch.
    """
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.optim_wrapper.optimizer.lr)
    schedulers = []
    for settings in config.param_scheduler:
        words = {key: value for key, value in settings.items() if key not in ('type', 'convert_to_iter_based')}
        kind: Any = PARAM_SCHEDULERS.get(settings.type)
        if settings.get('convert_to_iter_based'):
            schedulers.append(kind.build_iter_from_epoch(optimizer, epoch_length=length, **words))
        else:
            schedulers.append(kind(optimizer, **words))
    found = []
    for _ in range(config.train_cfg.max_epochs):
        for _ in range(length):
            found.append(optimizer.param_groups[0]['lr'])
            optimizer.step()
            for scheduler in schedulers:
                if not scheduler.by_epoch:
                    scheduler.step()
        for scheduler in schedulers:
            if scheduler.by_epoch:
                scheduler.step()
    return found


def taking(settings: Config, channels: list[int]) -> dict[str, list[int] | int]:
    """The parts of a detector or segmentor that take maps of the backbone, and the channels of what each takes."""
    parts = [part for part in ('neck', 'decode_head', 'auxiliary_head') if part in settings.model]
    parts = [part for part in parts if part != 'decode_head' or 'neck' not in parts]
    indices = {part: settings.model[part].get('in_index') for part in parts}
    return {part: channels[index] if isinstance(index, int) else channels for part, index in indices.items()}


def untrained(task: str, folder: Path) -> tuple[str, list[str]]:
    """Weights of a narrow model of a task, and the words after ``--cfg-options`` that build it."""
    words = [word for word in options(task, 1, folder) if not word.startswith(('train', 'val', 'default_hooks'))]
    parsed = mm_config.Parser('', '').parse_args(['x', '--cfg-options', *words])
    model = build_model(mm_config.load_config(str(ROOT / RUNNABLE[task]), parsed.cfg_options))
    path = folder / 'weights.safetensors'
    safetensors.torch.save_file({key: value.half().contiguous() for key, value in model.state_dict().items()}, path)
    return str(path), words


def start(*args: str) -> subprocess.Popen:
    """Python with these words, in a process of its own; what it prints can be read from it."""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *args], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def _word(value: int | list) -> str:
    return str(value).replace(' ', '')


def _small(settings: Config) -> list[str]:
    """Small pictures and few proposals."""
    task = task_of(settings)
    if task == 'classification':
        return []
    words = []
    for split in ('train', 'val', 'test'):
        for i, step in enumerate(settings[f'{split}_dataloader'].dataset.pipeline):
            changes = {'Resize': 'scale=(96,64)', 'RandomResize': 'scale=(64,64)', 'RandomCrop': 'crop_size=(64,64)'}
            if step.type in changes:
                words.append(f'{split}_dataloader.dataset.pipeline.{i}.{changes[step.type]}')
    if task == 'segmentation':
        words.append('model.data_preprocessor.size=(64,64)')
    if task == 'detection':
        words.append('model.test_cfg.score_thr=0.0')
    if task == 'instance':
        words += ['model.train_cfg.rpn_proposal.max_per_img=20', 'model.test_cfg.rpn.max_per_img=20']
        words += ['model.test_cfg.rcnn.max_per_img=5', 'model.test_cfg.rcnn.score_thr=0.0']
    return words


def make_cifar10(folder: Path) -> None:
    """A handful of generated pictures in the folders that the config reads."""
    for split in ('train', 'test'):
        _make_pictures(folder / 'cifar10' / split, Config.fromfile(ROOT / RUNNABLE['classification']).classes, 32, 32)


def make_imagenet(folder: Path) -> None:
    """Four generated pictures in two of a thousand classes; the folders are made once, and every test's are links."""
    (folder / 'imagenet').symlink_to(_imagenet(folder.parent), target_is_directory=True)


@functools.cache
def _imagenet(parent: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix='imagenet', dir=parent))
    for split in ('train', 'val'):
        for i in range(1000):
            (folder / split / f'n{i:04d}').mkdir(parents=True)
        _make_pictures(folder / split, ['n0000', 'n0007'], 70, 50)
    return folder


def make_coco(folder: Path) -> None:
    """Two generated pictures with an object each, in the place of COCO's."""
    _make_pictures(folder / 'coco', ['train2017'], 80, 96)
    boxes = [[10, 12, 40, 30], [30, 20, 50, 44]]
    corners = [[x, y, x + w, y, x + w, y + h, x, y + h] for x, y, w, h in boxes]
    table = {
        'images': [{'id': i, 'file_name': f'{i}.jpg', 'height': 80, 'width': 96} for i in range(2)],
        'annotations': [
            {'id': i, 'image_id': i, 'category_id': 1 + i, 'bbox': box, 'area': box[2] * box[3], 'iscrowd': 0}
            | {'segmentation': [corners[i]]}
            for i, box in enumerate(boxes)
        ],
        'categories': [{'id': i + 1, 'name': name} for i, name in enumerate(CocoDataset.METAINFO['classes'])],
    }
    (folder / 'coco' / 'annotations').mkdir()
    (folder / 'coco' / 'annotations' / 'instances_train2017.json').write_text(json.dumps(table))


def make_ade(folder: Path) -> None:
    """Two generated pictures with their classes, in the place of ADE20K's."""
    root = folder / 'ade'
    _make_pictures(root / 'images', ['training'], 80, 96)
    (root / 'annotations' / 'training').mkdir(parents=True)
    for i in range(2):
        classes = np.random.default_rng(i).integers(0, 151, (80, 96), dtype=np.uint8)
        Image.fromarray(classes).save(root / 'annotations' / 'training' / f'{i}.png')


def sample_few(model: Config) -> None:
    """Few regions of a detector, and crops of a segmentor as small as the pictures, in place."""
    if 'num_queries' in model:
        model.num_queries = 20
    if 'size' in model.data_preprocessor:
        model.data_preprocessor.size = (48, 48)
    stages = model.get('train_cfg', {}).get('rcnn', [])
    for stage in stages if isinstance(stages, list) else [stages]:
        stage.sampler.num = 16


def shrink(pipeline: list) -> None:
    """Small pictures wherever a pipeline sets a size, in place."""
    sizes = {'scale': (96, 64), 'scales': [(96, 64)], 'crop_size': (48, 48)}
    for step in pipeline:
        step.update({key: size for key, size in sizes.items() if key in step})
        for branch in step.get('transforms', ()):
            shrink(branch)


def _make_pictures(folder: Path, classes: list[str], height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(2):
            picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(picture).save(folder / name / f'{i}.jpg')


def checkpoint(folder: Path, task: str, epochs: int) -> Path:
    return folder / (f'iter_{2 * epochs}.pth' if task == 'segmentation' else f'epoch_{epochs}.pth')
