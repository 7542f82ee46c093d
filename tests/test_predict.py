"""Pictures in, annotated pictures and one JSON out."""

import json
import shutil

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmpretrain')

import cv2
import mm_runs
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from PIL import Image
from pycocotools import mask as coco_mask

from tools import drawing, mm_config, predict

PICTURE = mm_runs.ROOT / 'data/bccd/images/BloodImage_00001.jpg'
ALL_BOXES = dict.fromkeys(('detection', 'instance'), ('--score-threshold', '0'))


pytestmark = pytest.mark.usefixtures('in_root')


@pytest.fixture
def folder(tmp_path):
    """Two small pictures, and a file that is no picture's business."""
    source = tmp_path / 'in'
    source.mkdir()
    with Image.open(PICTURE) as image:
        image.resize((96, 64)).save(source / 'a.jpg')
        image.resize((70, 90)).save(source / 'b.png')
    (source / 'notes.txt').write_text('not a picture')
    return source


def _run(task, tmp_path, source, *more):
    """Predict with an untrained narrow model."""
    weights, words = mm_runs.untrained(task, tmp_path)
    out = tmp_path / 'out'
    args = [mm_runs.RUNNABLE[task], weights, str(source), '--out', str(out), *more, '--cfg-options', *words]
    assert predict.main(args) == 0
    return out, json.loads((out / 'predictions.json').read_text())


@pytest.mark.parametrize('task', mm_runs.RUNNABLE)
def test_a_folder_gives_annotated_pictures_and_json(task, tmp_path, folder):
    out, said = _run(task, tmp_path, folder, *ALL_BOXES.get(task, ()))
    assert [record['file'] for record in said['pictures']] == ['a.jpg', 'b.png']
    for record, size in zip(said['pictures'], ((96, 64), (70, 90)), strict=True):
        with Image.open(out / record['file']) as drawn:
            assert min(drawn.size) >= 480
            assert drawn.width * size[1] == drawn.height * size[0]
        if task == 'classification':
            assert len(record['classes']) == 5
            continue
        assert (record['width'], record['height']) == size
        if task == 'segmentation':
            assert sum(record['shares'].values()) == pytest.approx(1, abs=1e-3)
            with Image.open(out / record['class_map']) as labels:
                assert labels.size == size
            continue
        assert record['instances']
        for found in record['instances']:
            assert found['label'] in said['classes']
            if task == 'instance':
                assert coco_mask.decode(found['mask']).shape == size[::-1]


def test_the_threshold_leaves_out(tmp_path, folder):
    _, said = _run('detection', tmp_path, folder / 'a.jpg', '--score-threshold', '0.99')
    assert [record['instances'] for record in said['pictures']] == [[]]


@pytest.mark.parametrize('task', sorted({*mm_runs.RUNNABLE} - {*ALL_BOXES}))
def test_a_threshold_without_boxes_is_refused(task, tmp_path, folder, capsys):
    weights, words = mm_runs.untrained(task, tmp_path)
    args = [mm_runs.RUNNABLE[task], weights, str(folder), '--score-threshold', '0.5', '--out', str(tmp_path / 'out')]
    assert 'no detector' in _refused([*args, '--cfg-options', *words], capsys)


@pytest.mark.parametrize('path', {path.split('_')[-1]: path for path in mm_runs.CONFIGS}.values())
def test_each_class_has_a_colour(path):
    """mmsegmentation draws nothing without, and the configs of ADE20K leave them to the data set's type."""
    config = mm_config.load_config(path, {})
    dataset = config.test_dataloader.dataset
    classes = mm_config.class_names(config, dataset)
    palette = drawing._palette(config, dataset, len(classes))
    assert len(palette) >= len(classes)
    assert all(len(colour) == 3 for colour in palette)
    if 'ade20k' in path:
        assert palette[:2] == [(120, 120, 120), (180, 120, 120)]  # published


def test_a_small_picture_is_drawn_enlarged_with_what_is_in_it(tmp_path):
    config = mm_config.load_config(mm_runs.RUNNABLE['instance'], {})
    config.visualizer.update(bbox_color=(255, 0, 0), mask_color=(0, 255, 0), alpha=1.0)
    draw = drawing.drawer(config, config.test_dataloader.dataset, ['nucleus'], 0.3, truth=True)
    small = tmp_path / 'small.png'
    Image.new('RGB', (96, 64), (0, 0, 255)).save(small)
    masks = torch.zeros(1, 64, 96, dtype=torch.bool)
    masks[0, 40:50, 30:40] = True
    boxes, labels = torch.tensor([[10.0, 20.0, 60.0, 55.0]]), torch.zeros(1, dtype=torch.long)
    found = InstanceData(bboxes=boxes, labels=labels, scores=torch.ones(1), masks=masks)
    true = InstanceData(bboxes=boxes, labels=labels, masks=BitmapMasks(masks.numpy().astype('uint8'), 64, 96))
    sample = DetDataSample(pred_instances=found, gt_instances=true)
    draw(small, sample, tmp_path / 'drawn.png')
    with Image.open(tmp_path / 'drawn.png') as image:
        pixels = np.array(image).reshape(512, 2, 768, 3)
    for side in (0, 1):  # truth, found
        assert (pixels[300, side, 80] == (255, 0, 0)).all()  # the box's left side
        assert (pixels[440, side, 300] == (255, 0, 0)).all()  # its bottom
        assert pixels[360, side, 280][1] > 100 > pixels[360, side, 330][1]  # the mask and beside it
        assert (pixels[480, side, 700] == (0, 0, 255)).all()
    assert sample.pred_instances.bboxes.equal(boxes)
    assert sample.pred_instances.masks.equal(masks)
    draw(small, sample, tmp_path / 'drawn.png', enlarge=False)
    with Image.open(tmp_path / 'drawn.png') as image:
        assert image.size == (192, 64)


def test_classes_without_names_have_numbers(tmp_path, folder):
    """A folder of folders names its classes when it is read, and predictions are made without it."""
    path = next(path for path in mm_runs.CONFIGS if 'lsnet_t_cifar10' in path)
    weights, words = mm_runs.untrained('classification', tmp_path)
    words += ['test_dataloader.dataset.classes=None']
    out = tmp_path / 'out'
    assert predict.main([path, weights, str(folder / 'a.jpg'), '--out', str(out), '--cfg-options', *words]) == 0
    said = json.loads((out / 'predictions.json').read_text())
    assert said['classes'] == [f'class {i}' for i in range(10)]
    assert said['pictures'][0]['classes'][0]['label'] in said['classes']


def test_odd_pictures_cost_no_others(tmp_path, folder, capsys):
    weights, words = mm_runs.untrained('segmentation', tmp_path)
    Image.fromarray(np.zeros((48, 48), np.float32)).save(folder / 'a32.tif')  # PIL reads it, OpenCV does not
    Image.new('RGB', (600, 4)).save(folder / 'flat.png')
    (folder / 'text.jpg').write_text('not a picture')
    args = [mm_runs.RUNNABLE['segmentation'], weights, str(folder), '--out', str(tmp_path / 'out')]
    assert predict.main([*args, '--cfg-options', *words]) == 1
    said = capsys.readouterr()
    assert '2 of 5 pictures' in said.out
    records = json.loads((tmp_path / 'out' / 'predictions.json').read_text())['pictures']
    assert [record['file'] for record in records] == ['a.jpg', 'a32.tif', 'b.png', 'flat.png', 'text.jpg']
    for record in records:
        left_out = record['file'] not in ('a.jpg', 'b.png')
        assert ('error' in record) == left_out == (f'{record["file"]} is left out: ' in said.err)
        assert left_out or sum(record['shares'].values()) == pytest.approx(1, abs=1e-3)
    for name in ('a.jpg', 'b.png'):
        (folder / name).unlink()
    args[-1] = str(tmp_path / 'none')
    said = _refused([*args, '--cfg-options', *words], capsys)
    assert 'none of 3 pictures' in said and 'a32.tif' in said
    assert not (tmp_path / 'none' / 'predictions.json').exists()


def _refused(args, capsys) -> str:
    assert predict.main(args) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith('predict.py: ')
    return said


def test_files_of_others_are_not_written_over(tmp_path, folder, capsys):
    out, _ = _run('detection', tmp_path, folder / 'a.jpg')
    _run('detection', tmp_path, folder / 'a.jpg')  # its own files are
    (out / 'predictions.json').unlink()
    before = (out / 'a.jpg').read_bytes()
    args = [mm_runs.RUNNABLE['detection'], 'x.pth', str(folder), '--out', str(out)]
    assert f'{out / "a.jpg"} is there without a predictions.json' in _refused(args, capsys)
    assert (out / 'a.jpg').read_bytes() == before


def test_what_is_no_picture_is_named(tmp_path, capsys):
    config = mm_runs.RUNNABLE['detection']
    text = tmp_path / 'text.jpg'
    text.write_text('not a picture')
    empty = tmp_path / 'nothing.jpg'
    empty.touch()
    half = tmp_path / 'half.jpg'
    half.write_bytes(PICTURE.read_bytes()[:9000])
    odd = tmp_path / 'odd.tif'
    Image.fromarray(np.zeros((48, 48), np.float32)).save(odd)
    for path in (text, empty, half, odd, tmp_path / 'none.jpg'):
        assert path.name in _refused([config, 'x.pth', str(path)], capsys)
    (tmp_path / 'empty').mkdir()
    assert 'holds no picture' in _refused([config, 'x.pth', str(tmp_path / 'empty')], capsys)
    shutil.copy(PICTURE, tmp_path / 'empty')
    assert 'x.pth' in _refused([config, 'x.pth', str(tmp_path / 'empty')], capsys)
    assert '--score-threshold' in _refused([config, 'x.pth', str(PICTURE), '--score-threshold', '2'], capsys)
    assert '--device' in _refused([config, str(text), str(PICTURE), '--device', 'nonsense'], capsys)


def _film(path, count, size=(96, 64)):
    """The picture, moving."""
    with Image.open(PICTURE) as image:
        frame = np.array(image.resize(size))[:, :, ::-1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10, size)
    for i in range(count):
        writer.write(np.ascontiguousarray(np.roll(frame, 8 * i, axis=1)))
    writer.release()
    return path


def _decoded(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_a_video_gives_a_video_and_a_record_for_each_frame(task, tmp_path):
    source = _film(tmp_path / 'cells.avi', 3)
    out, said = _run(task, tmp_path, source, *ALL_BOXES.get(task, ()))
    before, _ = _decoded(source)
    after, rate = _decoded(out / 'cells.mp4')
    assert rate == 10
    assert [frame.shape for frame in after] == [frame.shape for frame in before]
    assert len(after) == len(said['pictures']) == 3
    assert all((a != b).any() for a, b in zip(after, before, strict=True))
    for number, record in enumerate(said['pictures']):
        assert (record['file'], record['frame'], record['second']) == ('cells.avi', number, number / 10)
        assert (record['width'], record['height']) == (96, 64)
        if task == 'segmentation':
            assert (out / record['class_map']).is_file()
    assert not list(out.glob('*.part*'))


def test_what_is_no_video_is_named(tmp_path, capsys):
    config = mm_runs.RUNNABLE['detection']
    (tmp_path / 'text.mp4').write_text('not a video')
    _film(tmp_path / 'empty.avi', 0)
    for name in ('text.mp4', 'empty.avi', 'none.mov'):
        assert name in _refused([config, 'x.pth', str(tmp_path / name)], capsys)
    own = _film(tmp_path / 'own.mp4', 1)
    assert '--out' in _refused([config, 'x.pth', str(own), '--out', str(tmp_path)], capsys)


def test_a_video_that_was_cut_off_is_taken_as_far_as_it_goes(tmp_path, capsys):
    whole = _film(tmp_path / 'whole.avi', 6)
    cut = tmp_path / 'cut.avi'
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    out, said = _run('detection', tmp_path, cut)
    assert 0 < len(said['pictures']) == len(_decoded(out / 'cut.mp4')[0]) < 6
    assert 'of the 6 frames' in capsys.readouterr().err
