"""Small runs of the runnable configs: a narrow model, a few pictures, one or two epochs."""

from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

ROOT = Path(__file__).parents[1]

RUNNABLE = {
    'detection': 'configs/detection/retinanet_lsnet_t_fpn_bccd.py',
    'instance': 'configs/detection/mask_rcnn_lsnet_t_fpn_nuclei.py',
    'segmentation': 'configs/segmentation/fpn_lsnet_t_nuclei.py',
    'classification': 'configs/classification/lsnet_t_cifar10.py',
}
# Where a config keeps the arguments of its backbone, and the widths that its neck then needs.
_NARROW = {
    'detection': ['model.backbone.dims=[16,16,32,32]', 'model.neck.in_channels=[16,16,32,32]'],
    'instance': ['model.backbone.dims=[16,16,32,32]', 'model.neck.in_channels=[16,16,32,32]'],
    'segmentation': ['model.backbone.dims=[16,16,32,32]', 'model.neck.in_channels=[8,16,16,32,32]'],
    'classification': ['model.dims=[16,16,32,32]'],
}


def options(task: str, epochs: int, folder: Path) -> list[str]:
    """Words after ``--cfg-options`` that make a run of a few seconds; two iterations an epoch."""
    prefix = 'model' if task == 'classification' else 'model.backbone'
    words = [*_NARROW[task], f'{prefix}.depths=[0,1,1,2]']
    for split, pictures in (('train', 4), ('val', 2), ('test', 2)):
        loader = f'{split}_dataloader'
        words += [f'{loader}.num_workers=0', f'{loader}.persistent_workers=False', f'{loader}.batch_size=2']
        words.append(f'{loader}.dataset.indices={pictures}')
        if task == 'classification':
            words.append(f'{loader}.dataset.data_root={folder / "cifar10"}')
        else:
            words.append(f'{loader}.dataset.data_root={_data(task)}')
    words += _small(task)
    if task in ('detection', 'instance'):
        words += [f'{split}_evaluator.ann_file={_data(task)}/{split}.json' for split in ('val', 'test')]
        if task == 'instance':  # it has no split of its own for the test
            words[-1] = f'test_evaluator.ann_file={_data(task)}/val.json'
        words.append('model.test_cfg.rcnn.score_thr=0.0' if task == 'instance' else 'model.test_cfg.score_thr=0.0')
        words += ['default_hooks.checkpoint.interval=1', 'train_cfg.val_interval=1', f'train_cfg.max_epochs={epochs}']
    elif task == 'segmentation':
        words += [
            'default_hooks.checkpoint.interval=2',
            'train_cfg.val_interval=2',
            f'train_cfg.max_iters={2 * epochs}',
        ]
    else:
        words.append(f'train_cfg.max_epochs={epochs}')
    return words


def _small(task: str) -> list[str]:
    """Small pictures and few proposals."""
    if task == 'classification':
        return []
    words = [f'{split}_dataloader.dataset.pipeline.1.scale=(96,64)' for split in ('val', 'test')]
    words += [f'train_dataloader.dataset.pipeline.{i}=(64,64)' for i in ('2.scale', '3.crop_size')]
    if task == 'segmentation':
        words.append('model.data_preprocessor.size=(64,64)')
    if task == 'instance':
        words += ['model.train_cfg.rpn_proposal.max_per_img=20', 'model.test_cfg.rpn.max_per_img=20']
        words += ['model.test_cfg.rcnn.max_per_img=5']
    return words


def _data(task: str) -> Path:
    return ROOT / 'data' / ('bccd' if task == 'detection' else 'nuclei')


def make_cifar10(folder: Path) -> None:
    """A handful of generated pictures in the folders that the config reads."""
    rng = np.random.default_rng(0)
    for split in ('train', 'test'):
        for name in Config.fromfile(ROOT / RUNNABLE['classification']).classes:
            target = folder / 'cifar10' / split / name
            target.mkdir(parents=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(target / '0001.jpg')


def checkpoint(folder: Path, task: str, epochs: int) -> Path:
    return folder / (f'iter_{2 * epochs}.pth' if task == 'segmentation' else f'epoch_{epochs}.pth')
