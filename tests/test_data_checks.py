"""Mistakes in data and file names are one sentence and exit code 2, before hours of work are spent."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmpretrain')

import mm_runs
import numpy as np
from mmengine.registry import DATASETS
from PIL import Image

from tools import data_checks, decoding, files, look, mm_config, pack
from tools import test as test_tool
from tools import train as train_tool

DETECTION, INSTANCE, SEGMENTATION, CLASSIFICATION = (
    mm_runs.RUNNABLE[task] for task in ('detection', 'instance', 'segmentation', 'classification')
)
TRAIN, TEST = 'train_dataloader', 'test_dataloader'
SPLITS = (TRAIN, 'val_dataloader', TEST)


pytestmark = pytest.mark.usefixtures('in_root')


def _load(path: str, **dataset: Any) -> Any:
    """A config, the data sets of its training and its test with these settings."""
    options = {f'{loader}.dataset.{key}': value for loader in (TRAIN, TEST) for key, value in dataset.items()}
    return mm_config.load_config(path, options)


def _refused(check: Callable[..., None], *args: Any) -> str:
    with pytest.raises(ValueError, match='_dataloader') as caught:
        check(*args)
    return str(caught.value)


@pytest.mark.parametrize('path', mm_runs.one_of_each(mm_runs.BUNDLED))
def test_the_bundled_data_pass(path: str) -> None:
    config = mm_config.load_config(path, {})
    data_checks.check_folders(config, *SPLITS)
    data_checks.check_annotations(config, *SPLITS)
    data_checks.check_evaluators(config, *SPLITS[1:])
    data_checks.check_pictures(config, 'refuse', SPLITS)


def _classes(folder: Path, names: list[str], with_label: bool = True) -> Any:
    mm_runs.make_cifar10(folder)
    config = _load(CLASSIFICATION, data_root=str(folder / 'cifar10'), with_label=with_label)
    config.train_dataloader.dataset.classes = names
    return config


def test_classes_have_the_order_of_their_folders(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    right = list(mm_config.load_config(CLASSIFICATION, {}).train_dataloader.dataset.classes)
    config = _classes(tmp_path, right)
    data_checks.check_folders(config, TRAIN, TEST)
    config.train_dataloader.dataset.classes = right[::-1]
    said = _refused(data_checks.check_folders, config, TRAIN)
    assert f'set classes to {", ".join(right)}' in said and 'are truck, ship' in said and 'cifar10/train' in said
    config.train_dataloader.dataset.classes = ['plane', 'car', *right[3:]]
    said = _refused(data_checks.check_folders, config, TRAIN)
    assert 'lack the folders airplane, automobile, bird' in said and 'name car, plane, which are none' in said
    config.train_dataloader.dataset.classes = ['plane', *right[1:]]
    data_checks.check_folders(config, TRAIN)
    assert 'the folders airplane, automobile, bird, ... go by the names plane, automobile' in capsys.readouterr().err
    (tmp_path / 'names.txt').write_text('\n'.join(right))
    config.train_dataloader.dataset.classes = str(tmp_path / 'names.txt')
    data_checks.check_folders(config, TRAIN)
    (tmp_path / 'names.txt').write_text('\n'.join(right[::-1]))
    assert 'alphabetical' in _refused(data_checks.check_folders, config, TRAIN)


def test_folders_that_are_no_classes_may_have_any_name(tmp_path: Path) -> None:
    data_checks.check_folders(_classes(tmp_path, ['a', 'b'], with_label=False), TRAIN)


Table = dict[str, list[dict]]


def _table() -> Table:
    """Three pictures with an object of each class of the cells."""
    images = [{'id': i, 'file_name': f'{i}.jpg', 'width': 64, 'height': 48} for i in range(3)]
    categories = [{'id': i + 1, 'name': name} for i, name in enumerate(('RBC', 'WBC', 'Platelets'))]
    box = {'bbox': [4, 6, 20, 10], 'area': 200, 'iscrowd': 0, 'segmentation': [[4, 6, 24, 6, 24, 16]]}
    annotations = [{'id': 10 + i, 'image_id': i, 'category_id': i + 1, **box} for i in range(3)]
    return {'images': images, 'annotations': annotations, 'categories': categories}


def _cells(folder: Path, table: Any, path: str = DETECTION, **more: Any) -> Any:
    for i in range(3):
        Image.new('RGB', (64, 48)).save(folder / f'{i}.jpg')
    (folder / 'own.json').write_text(json.dumps(table))
    config = _load(path, data_root=str(folder), ann_file='own.json', **{'data_prefix.img': ''}, **more)
    for loader in (TRAIN, TEST):
        config[loader].dataset.metainfo = dict(classes=('RBC', 'WBC', 'Platelets'))
    return config


def _put(table: Table, part: str, index: int, **values: Any) -> None:
    for key, value in values.items():
        if value is ...:
            del table[part][index][key]
        else:
            table[part][index][key] = value


NONE: dict[str, Any] = dict(area=..., segmentation=...)


@pytest.mark.parametrize(
    ('part', 'values', 'words'),
    [
        ('annotations', dict(area=...), ['area', '1 of 3', 'annotations 11']),
        ('annotations', dict(area=None), ['area', '1 of 3', 'annotations 11']),
        ('annotations', dict(bbox=...), ['bbox', 'annotations 11']),
        ('annotations', dict(image_id=...), ['image_id', 'annotations 11']),
        ('annotations', dict(id=...), ['lack id', 'at place 1']),
        ('images', dict(file_name=...), ['file_name', '1 of 3', 'images 1']),
        ('images', dict(width=...), ['width', 'images 1']),
        ('images', dict(height='48'), ['height', 'images 1', "'48'"]),
        ('annotations', dict(bbox='4 6 20 10'), ['four finite numbers', 'annotations 11', "'4 6 20 10'"]),
        ('annotations', dict(bbox=[4, 6, 20]), ['four finite numbers', 'annotations 11', '[4, 6, 20]']),
        ('annotations', dict(bbox=[4, 6, 20, float('nan')]), ['four finite numbers', 'annotations 11', 'nan']),
        ('annotations', dict(bbox=[4, 6, float('inf'), 10]), ['four finite numbers', 'annotations 11', 'inf']),
        ('annotations', dict(area=float('nan')), ['a finite number', 'annotations 11']),
    ],
)
def test_what_mmdet_cannot_read_is_named(part: str, values: dict, words: list[str], tmp_path: Path) -> None:
    table = _table()
    data_checks.check_annotations(_cells(tmp_path, table), TRAIN, TEST)
    _put(table, part, 1, **values)
    said = _refused(data_checks.check_annotations, _cells(tmp_path, table), TRAIN)
    assert all(word in said for word in ['own.json', *words]), said


def test_what_the_evaluation_reads_besides_is_named(tmp_path: Path) -> None:
    table = _table()
    _put(table, 'annotations', 1, iscrowd=...)
    config = _cells(tmp_path, table)
    data_checks.check_annotations(config, TRAIN)
    assert 'lack iscrowd (annotations 11)' in _refused(data_checks.check_annotations, config, TEST)


def test_annotations_that_mmdet_does_not_read_may_lack_anything(tmp_path: Path) -> None:
    table = _table()
    _put(table, 'annotations', 1, bbox=..., ignore=1, **NONE)
    data_checks.check_annotations(_cells(tmp_path, table), TRAIN, TEST)


@pytest.mark.parametrize('shape', [..., [], None, {}, [1, 2, 3, 4, 5, 6]])
def test_masks_that_are_missing_are_counted(shape: Any, tmp_path: Path) -> None:
    table = _table()
    data_checks.check_annotations(_cells(tmp_path, table, INSTANCE), TRAIN)
    _put(table, 'annotations', 1, segmentation=shape)
    data_checks.check_annotations(_cells(tmp_path, table), TRAIN)  # a detector without masks
    said = _refused(data_checks.check_annotations, _cells(tmp_path, table, INSTANCE), TRAIN)
    assert '1 of 3' in said and 'annotations 11' in said and 'with_mask' in said


def test_classes_have_the_order_of_the_categories(tmp_path: Path) -> None:
    config = _cells(tmp_path, _table())
    dataset = config.train_dataloader.dataset
    dataset.metainfo = dict(classes=('WBC', 'RBC', 'Platelets'))
    assert 'set them to RBC, WBC, Platelets' in _refused(data_checks.check_annotations, config, TRAIN)
    built = DATASETS.build({**dataset, 'pipeline': []})
    assert built.metainfo['classes'][built.get_data_info(0)['instances'][0]['bbox_label']] == 'WBC'  # and is an RBC


def test_classes_whose_annotations_are_left_out_are_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    table = _table()
    _put(table, 'annotations', 1, bbox=[4, 6, 0.5, 10])
    _put(table, 'annotations', 2, iscrowd=1)
    data_checks.check_annotations(_cells(tmp_path, table), TRAIN)
    assert '2 of 3 classes have no example to learn from: WBC, Platelets' in capsys.readouterr().err


@pytest.mark.parametrize('loader', [TRAIN, TEST])
def test_annotations_that_are_all_left_out_are_refused(loader: str, tmp_path: Path) -> None:
    table = _table()
    for i in range(3):
        _put(table, 'annotations', i, category_id=9)
    said = _refused(data_checks.check_annotations, _cells(tmp_path, table), loader)
    assert 'of its 3 none' in said and 'own.json' in said


def test_nothing_to_train_on_is_refused_and_a_test_without_annotations_is_not(tmp_path: Path) -> None:
    config = _cells(tmp_path, {**_table(), 'annotations': []})
    data_checks.check_annotations(config, TEST)
    assert 'of its 0 none' in _refused(data_checks.check_annotations, config, TRAIN)


@pytest.mark.parametrize('table', [[], {'categories': [], 'images': [1]}, {'categories': 3, 'images': []}, {}])
def test_a_file_of_another_kind_is_named(table: Any, tmp_path: Path) -> None:
    assert 'no COCO annotation file' in _refused(data_checks.check_annotations, _cells(tmp_path, table), TRAIN)


def test_lists_without_pictures_are_refused(tmp_path: Path) -> None:
    config = _cells(tmp_path, {**_table(), 'images': []})
    assert 'own.json must name at least one picture' in _refused(data_checks.check_annotations, config, TRAIN)
    (tmp_path / 'own.json').write_text(json.dumps({**_table(), 'annotations': []}))
    config.train_dataloader.dataset.filter_cfg = dict(filter_empty_gt=True)
    assert 'filter_cfg' in _refused(data_checks.check_pictures, config, 'refuse', [TRAIN])
    config = _load(SEGMENTATION)
    (tmp_path / 'train.txt').write_text('\n')
    config.train_dataloader.dataset.ann_file = str(tmp_path / 'train.txt')
    assert 'train.txt must name at least one' in _refused(data_checks.check_folders, config, TRAIN)
    (tmp_path / 'airplane').mkdir()
    config = _classes(tmp_path, ['airplane'])
    config.train_dataloader.dataset.update(data_root=str(tmp_path), data_prefix='', extensions=('.xyz',))
    assert 'cannot be read' in _refused(data_checks.check_pictures, config, 'refuse', [TRAIN])


def test_annotations_of_one_id_are_a_sentence(tmp_path: Path) -> None:
    table = _table()
    _put(table, 'annotations', 1, id=10)
    assert 'cannot be read' in _refused(data_checks.check_pictures, _cells(tmp_path, table), 'refuse', [TRAIN])


def _nuclei(folder: Path, labels: np.ndarray, mode: str = 'L', **more: Any) -> Any:
    """Two pictures, the second with a class map of these labels."""
    for part in ('images', 'semantic'):
        (folder / part).mkdir(exist_ok=True)
    for i in range(2):
        Image.new('RGB', (labels.shape[1], labels.shape[0])).save(folder / 'images' / f'{i}.jpg')
        Image.new('L', (labels.shape[1], labels.shape[0])).save(folder / 'semantic' / f'{i}.png')
    image = Image.fromarray(labels)
    if mode == 'P':
        image.putpalette([i % 256 for i in range(768)])
    image.save(folder / 'semantic' / '1.png')
    for split in ('train', 'val'):
        (folder / f'{split}.txt').write_text('0\n1\n')
    return _load(SEGMENTATION, data_root=str(folder), **more)


def _labels(*labels: int, dtype: Any = np.uint8) -> np.ndarray:
    return np.resize(np.array(labels, dtype=dtype), (8, 8))


@pytest.mark.parametrize(
    ('labels', 'mode', 'more', 'words'),
    [
        (_labels(0, 1, 255), 'L', {}, []),
        (_labels(0, 1, 255), 'P', {}, []),
        (_labels(0, 1, dtype=bool), '1', {}, []),
        (_labels(0, 1, 2, 255), 'L', dict(reduce_zero_label=True), []),
        (_labels(0, 1, 7), 'L', {}, ['0 to 1 or 255', 'holds 7', '1 of 2']),
        (_labels(0, 1, 7), 'P', {}, ['holds 7']),
        (_labels(0, 1, 300, dtype=np.uint16), 'I;16', {}, ['holds 300']),
        (_labels(0, 1, 3), 'L', dict(reduce_zero_label=True), ['0 to 2 or 255', 'holds 3']),
        (np.zeros((8, 8, 3), np.uint8), 'RGB', {}, ['one channel', '3 (RGB)']),
    ],
)
@pytest.mark.parametrize('loader', [TRAIN, TEST])
def test_labels_that_are_no_classes_are_found(
    loader: str, labels: np.ndarray, mode: str, more: dict, words: list[str], tmp_path: Path
) -> None:
    config = _nuclei(tmp_path, labels, mode, **more)
    with Image.open(tmp_path / 'semantic' / '1.png') as image:
        assert image.mode == mode
    if words:
        said = _refused(data_checks.check_pictures, config, 'skip', [loader])
        assert all(word in said for word in ['semantic/1.png', *words]), said
    else:
        data_checks.check_pictures(config, 'refuse', [loader])


def test_pictures_have_the_size_of_their_annotations(tmp_path: Path) -> None:
    """As the pipeline reads them: one that the camera noted as lying on its side is turned."""
    config, path, exif = _cells(tmp_path, _table()), tmp_path / '1.jpg', Image.Exif()
    data_checks.check_pictures(config, 'refuse', [TRAIN])
    Image.new('RGB', (48, 64)).save(path)
    said = _refused(data_checks.check_pictures, config, 'refuse', [TRAIN])
    assert f'1 of 3 have not ({path} is of 48 x 64, annotated as 64 x 48)' in said
    exif[decoding._ORIENTATION] = 6
    Image.new('RGB', (48, 64)).save(path, exif=exif)
    assert DATASETS.build(config.train_dataloader.dataset)[1]['data_samples'].ori_shape == (48, 64)
    data_checks.check_pictures(config, 'refuse', [TRAIN])


@pytest.mark.parametrize('loader', [TRAIN, TEST])
def test_class_maps_have_the_size_of_their_pictures(loader: str, tmp_path: Path) -> None:
    config = _nuclei(tmp_path, _labels(0))
    Image.new('L', (8, 4)).save(tmp_path / 'semantic' / '1.png')
    said = _refused(data_checks.check_pictures, config, 'refuse', [loader])
    assert 'images/1.jpg is of 8 x 8, annotated as 8 x 4' in said


def test_class_maps_that_no_pipeline_reads_need_not_be_there(tmp_path: Path) -> None:
    config = _nuclei(tmp_path, _labels(0))
    (tmp_path / 'semantic' / '1.png').unlink()
    assert '1.png' in _refused(data_checks.check_pictures, config, 'refuse', [TEST])
    steps = config.test_dataloader.dataset.pipeline
    config.test_dataloader.dataset.pipeline = [step for step in steps if step.type != 'LoadAnnotations']
    data_checks.check_pictures(config, 'refuse', [TEST])


def test_as_many_pictures_as_asked_for_are_opened(tmp_path: Path) -> None:
    config = _nuclei(tmp_path, _labels(0))
    (tmp_path / 'images' / '1.jpg').write_text('no picture')
    data_checks.check_pictures(config, 'refuse', [TEST], 1)
    said = _refused(data_checks.check_pictures, config, 'refuse', [TEST])
    assert '1 of 4 pictures' in said and '--unreadable' not in said


def _sentence(main: Callable[[list[str]], int], args: list[Any], capsys: pytest.CaptureFixture) -> str:
    capsys.readouterr()
    assert main(list(map(str, args))) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert 'Traceback' not in said
    return said


def test_data_of_a_measurement_are_looked_at_first(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    weights, words = mm_runs.untrained('segmentation', tmp_path)
    _nuclei(tmp_path, _labels(0))
    root = f'test_dataloader.dataset.data_root={tmp_path}'
    (tmp_path / 'images' / '1.jpg').write_text('no picture')
    out = ['--cfg-options', *words]
    for main, args in (
        (test_tool.main, [SEGMENTATION, weights, '--work-dir', tmp_path / 'work']),
        (look.main, ['errors', SEGMENTATION, weights, '--out', tmp_path / 'out']),
    ):
        said = _sentence(main, [*args, *out, root], capsys)
        assert 'test_dataloader: 1 of 4 pictures' in said and '1.jpg' in said
        for missing in ('data_root=nowhere', 'data_prefix.img_path=nowhere'):
            said = _sentence(main, [*args, *out, root, f'test_dataloader.dataset.{missing}'], capsys)
            assert 'there is no' in said and 'nowhere' in said
    assert not (tmp_path / 'work').exists()


def test_findings_are_never_held_against_the_truth_of_other_data(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    weights, words = mm_runs.untrained('detection', tmp_path)
    _cells(tmp_path, _table())
    words += [f'test_dataloader.dataset.{key}' for key in (f'data_root={tmp_path}/', 'ann_file=own.json')]
    words.append('test_dataloader.dataset.data_prefix.img=')
    args = [DETECTION, weights, '--work-dir', tmp_path / 'work', '--out', tmp_path / 'x.json', '--cfg-options', *words]
    said = _sentence(test_tool.main, args, capsys)
    cure = f'test_evaluator.ann_file={tmp_path}/own.json'
    assert 'test_dataloader.dataset.data_root' in said and said.endswith(f'--cfg-options {cure}')
    assert test_tool.main([*map(str, args), cure]) == 0
    config = _load(DETECTION)
    config.val_evaluator = [dict(type='DumpResults', out_file_path='x.pkl'), config.val_evaluator]
    data_checks.check_evaluators(config, *SPLITS[1:])
    config.val_evaluator[1].ann_file = 'data/bccd/test.json'
    assert 'val_evaluator.1.ann_file=' in _refused(data_checks.check_evaluators, config, *SPLITS[1:])


def _unwritable(folder: Path, suffix: str) -> list[Path]:
    (folder / 'file').touch()
    (folder / f'folder{suffix}').mkdir()
    return [folder / 'no' / f'x{suffix}', folder / 'file' / f'x{suffix}', folder / f'folder{suffix}']


def test_a_result_that_cannot_be_written_is_refused_first(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for path in _unwritable(tmp_path, '.json'):
        said = _sentence(test_tool.main, ['no.py', 'no.pth', '--out', path], capsys)
        assert '--out' in said and str(path) in said
    for path in _unwritable(tmp_path, '.safetensors'):
        assert str(path) in _sentence(pack.main, ['no.py', 'no.pth', path], capsys)


def test_a_folder_that_takes_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.check(str(tmp_path / 'x.json'), '--out')
    assert not list(tmp_path.iterdir())

    def refuse(**kwargs: Any) -> None:
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr('tempfile.TemporaryFile', refuse)  # who runs the tests may be allowed everything
    with pytest.raises(ValueError, match='no file can be written into'):
        files.check(str(tmp_path / 'x.json'), '--out')


def test_what_is_no_weight_file_is_a_sentence_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    Image.new('RGB', (8, 8)).save(tmp_path / 'x.jpg')
    said = _sentence(pack.main, [DETECTION, tmp_path / 'x.jpg', tmp_path / 'x.safetensors'], capsys)
    assert 'it is no weight file' in said and 'weights_only' not in said


def test_metrics_are_read_first(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / 'bad.json').write_text('AP 0.5')
    for name in ('bad.json', 'none.json'):
        args = ['no.py', 'no.pth', tmp_path / 'x.safetensors', '--metrics', tmp_path / name]
        said = _sentence(pack.main, args, capsys)
        assert '--metrics' in said and name in said


def test_a_training_on_bad_data_does_not_begin(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    table = _table()
    _put(table, 'annotations', 1, area=...)
    _cells(tmp_path, table)
    words = [f'train_dataloader.dataset.data_root={tmp_path}', 'train_dataloader.dataset.ann_file=own.json']
    words.append('train_dataloader.dataset.data_prefix.img=')
    args = [DETECTION, '--work-dir', tmp_path / 'work', '--cfg-options', *words]
    assert 'lack area' in _sentence(train_tool.main, args, capsys)
    assert not (tmp_path / 'work').exists()
