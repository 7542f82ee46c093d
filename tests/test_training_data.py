"""Data that a training cannot use: what is named, refused or left out before it begins."""

import json

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmpretrain')

import mm_runs
import numpy as np
from mmengine.registry import DATASETS
from PIL import Image

from backbones.mm import read_checkpoint
from tools import data_checks, decoding, mm_config
from tools import train as train_tool

DETECTION, SEGMENTATION, CLASSIFICATION = (
    mm_runs.RUNNABLE[task] for task in ('detection', 'segmentation', 'classification')
)


pytestmark = pytest.mark.usefixtures('in_root')


@pytest.mark.parametrize(
    ('config', 'option', 'missing'),
    [
        (DETECTION, 'train_dataloader.dataset.data_prefix.img=no/', 'data/bccd/no'),
        (DETECTION, 'val_dataloader.dataset.data_root=no/', 'no'),
        (SEGMENTATION, 'train_dataloader.dataset.data_prefix.seg_map_path=no', 'data/nuclei/no'),
        (SEGMENTATION, 'train_dataloader.dataset.ann_file=no.txt', 'data/nuclei/no.txt'),
        (CLASSIFICATION, 'train_dataloader.dataset.data_root=no', 'no'),
        ('configs/classification/lsnet_t_imagenet.py', 'train_dataloader.dataset.split=train', 'data/imagenet'),
    ],
)
def test_a_missing_folder_is_named(config, option, missing, tmp_path, capsys):
    assert train_tool.main([config, '--work-dir', str(tmp_path / 'work'), '--cfg-options', option]) == 2
    said = mm_runs.said(capsys)
    assert f' {missing}: ' in said and '_dataloader' in said and '--cfg-options' in said
    assert not (tmp_path / 'work').exists()


def _cut(path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def test_pictures_that_cannot_be_read_are_refused_or_skipped(cifar, capsys):
    train = cifar / 'cifar10' / 'train'
    _cut(train / 'airplane' / '1.jpg')
    (train / 'bird' / '0.jpg').write_text('no picture')
    options = ['train_dataloader.dataset.indices=6']
    assert mm_runs.train(CLASSIFICATION, cifar, 1, 'work', extra=options) == 2
    said = mm_runs.said(capsys)
    assert '2 of 6 pictures' in said and 'airplane/1.jpg' in said and 'bird/0.jpg' in said and '--unreadable' in said

    assert mm_runs.train(CLASSIFICATION, cifar, 1, 'work', '--unreadable', 'skip', extra=options) == 0
    assert '2 of 6 pictures' in capsys.readouterr().err
    assert read_checkpoint(cifar / 'work' / 'epoch_1.pth')['meta']['iter'] == 2  # four pictures, two at a time

    assert mm_runs.train(CLASSIFICATION, cifar, 1, 'other', '--unreadable', 'skip', '--no-check', extra=options) == 2
    assert '--no-check' in mm_runs.said(capsys)
    _cut(cifar / 'cifar10' / 'test' / 'airplane' / '0.jpg')
    assert mm_runs.train(CLASSIFICATION, cifar, 1, 'other', '--unreadable', 'skip', extra=options) == 2
    assert 'val_dataloader: 1 of 2' in mm_runs.said(capsys)


def test_pictures_are_left_out_of_a_data_set_that_another_one_wraps(cifar):
    broken = cifar / 'cifar10' / 'train' / 'bird' / '0.jpg'
    _cut(broken)
    config = mm_config.load_config(CLASSIFICATION, {'train_dataloader.dataset.data_root': str(cifar / 'cifar10')})
    config.val_dataloader = None
    whole = DATASETS.build(config.train_dataloader.dataset)
    config.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=config.train_dataloader.dataset)
    data_checks.check_pictures(config, 'skip')
    left = DATASETS.build(config.train_dataloader.dataset)
    assert len(left) == 2 * (len(whole) - 1)
    paths = {left.get_data_info(i)['img_path'] for i in range(len(left))}
    assert len(paths) == len(whole) - 1 and str(broken) not in paths


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'bmp', 'webp'])
def test_a_picture_that_ends_too_early_is_found(suffix, tmp_path):
    decode = decoding.decoders([])[False]
    path = tmp_path / f'x.{suffix}'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    assert decoding.is_picture(path, decode)
    with path.open('ab') as file:
        file.write(bytes(5000))  # what lies behind the end does no harm
    assert decoding.is_picture(path, decode)
    path.write_bytes(path.read_bytes()[:-5500])
    assert not decoding.is_picture(path, decode)


def test_a_picture_is_what_the_pipeline_can_read(tmp_path):
    """OpenCV does not read numbers of 32 bits."""
    path = tmp_path / 'x.tif'
    Image.fromarray(np.zeros((4, 4), np.float32)).save(path)
    assert not decoding.is_picture(path, decoding.decoders([])[False])
    step = dict(type='mmdet.LoadImageFromFile', color_type='unchanged', imdecode_backend='pillow')
    assert decoding.is_picture(path, decoding.decoders([step])[False])
    assert decoding.is_picture(path, decoding.decoders([])[True])


def _coco() -> dict:
    """The cells' annotations, to be spoilt."""
    return json.loads((mm_runs.ROOT / 'data/bccd/train.json').read_text())


def _train_cells(folder, table) -> int:
    (folder / 'own.json').write_text(json.dumps(table))
    return mm_runs.train(
        DETECTION, folder, 1, 'work', extra=[f'train_dataloader.dataset.ann_file={folder / "own.json"}']
    )


def test_boxes_outside_their_picture_are_refused(tmp_path, capsys):
    table = _coco()
    for i in (2, 5, 6, 9):
        table['annotations'][i]['bbox'][0] = 10000
    assert _train_cells(tmp_path, table) == 2
    said = mm_runs.said(capsys)
    ids = [table['annotations'][i]['id'] for i in (2, 5, 6)]
    assert '4 of ' in said and ', '.join(map(str, ids)) + ', ...' in said


def test_annotations_that_are_left_out_are_counted_and_an_empty_class_is_named(tmp_path, capsys):
    table = _coco()
    platelets = next(c['id'] for c in table['categories'] if c['name'] == 'Platelets')
    table['annotations'] = [a for a in table['annotations'] if a['category_id'] != platelets]
    none, far, strange, cut = table['annotations'][:4]
    none['bbox'][2] = 0
    far['image_id'] = 987654
    strange['category_id'] = 99
    cut['bbox'][0] = -20
    cut['bbox'][2] = 60
    assert _train_cells(tmp_path, table) == 0
    lines = capsys.readouterr().err.splitlines()
    count = len(table['annotations'])
    for annotation, words in ((none, 'pixel wide'), (far, 'picture that'), (strange, 'class that'), (cut, 'clipped')):
        line = next(line for line in lines if words in line)
        assert f' {count} annotations' in line and str(annotation['id']) in line, line
    assert any('1 of 3 classes have no example' in line and line.endswith('Platelets') for line in lines)
