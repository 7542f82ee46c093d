"""The tool that cut data/cells out of data/bccd."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tools import cut_cells

ROOT = Path(__file__).parents[1]


def _names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob('*.jpg')}


def test_the_tool_made_the_bundled_pictures(tmp_path):
    assert cut_cells.main(['--source', str(ROOT / 'data/bccd'), '--out', str(tmp_path)]) == 0
    made, bundled = _names(tmp_path), _names(ROOT / 'data/cells')
    assert made == bundled
    for name in sorted(made)[::20]:
        old, new = (np.asarray(Image.open(folder / name)).astype(int) for folder in (ROOT / 'data/cells', tmp_path))
        assert old.shape == new.shape == (64, 64, 3)
        assert abs(old - new).mean() < 2  # the decoders and encoders of other versions differ a little


def test_no_photograph_is_in_two_splits():
    photographs = [
        {p.name.rpartition('_')[0] for p in (ROOT / 'data/cells' / s).rglob('*.jpg')} for s in cut_cells.SPLITS
    ]
    assert len(set.union(*photographs)) == sum(map(len, photographs))


def test_squares_lie_around_the_box_and_in_the_photograph(tmp_path):
    photograph = np.zeros((48, 64, 3), dtype=np.uint8)
    photograph[30:48, 50:64] = 255  # a white cell in the corner
    (tmp_path / 'images').mkdir()
    Image.fromarray(photograph).save(tmp_path / 'images/a.png')
    image = {'id': 7, 'file_name': 'a.png', 'width': 64, 'height': 48}
    boxes = [{'id': i, 'image_id': 7, 'category_id': i, 'bbox': [50, 30, 14, 18]} for i in (1, 2)]
    table = {'images': [image], 'annotations': boxes, 'categories': [{'id': 1, 'name': 'A'}, {'id': 2, 'name': 'B'}]}
    for split in cut_cells.SPLITS:
        (tmp_path / f'{split}.json').write_text(json.dumps(table))
    out = tmp_path / 'out'
    assert cut_cells.main(['--source', str(tmp_path), '--out', str(out), '--size', '22']) == 0
    cell = np.asarray(Image.open(out / 'val/B/a_2.jpg'))  # the square of 22 pixels in the corner, unscaled
    assert cell.shape == (22, 22, 3)
    assert abs(cell.astype(int) - photograph[-22:, -22:]).mean() < 4


def test_one_class_is_cut_whole_and_boxes_without_a_pixel_are_not(tmp_path):
    (tmp_path / 'images').mkdir()
    Image.new('RGB', (64, 48)).save(tmp_path / 'images/a.png')
    boxes = [{'id': i, 'image_id': 0, 'category_id': 1, 'bbox': [5, 5, side, side]} for i, side in enumerate((9, 0, 7))]
    table = {'images': [{'id': 0, 'file_name': 'a.png'}], 'annotations': boxes, 'categories': [{'id': 1, 'name': 'A'}]}
    for split in cut_cells.SPLITS:
        (tmp_path / f'{split}.json').write_text(json.dumps(table))
    assert cut_cells.main(['--source', str(tmp_path), '--out', str(tmp_path / 'out')]) == 0
    assert _names(tmp_path / 'out/train') == {'A/a_0.jpg', 'A/a_2.jpg'}


def test_mistakes_are_one_sentence(tmp_path, capsys):
    for args in (['--source', 'nowhere', '--out', str(tmp_path)], ['--out', str(ROOT / 'data/cells')]):
        assert cut_cells.main(args) == 2
        assert capsys.readouterr().err.startswith('cut_cells.py: ')
    assert cut_cells.main(['--source', 'nowhere', '--out', str(tmp_path), '--size', '0']) == 2
    assert '--size' in capsys.readouterr().err
    for text in ('{', '{}', '[]', '{"categories": [], "annotations": []}'):
        (tmp_path / 'train.json').write_text(text)
        assert cut_cells.main(['--source', str(tmp_path), '--out', str(tmp_path / 'out')]) == 2
        assert 'train.json must be a COCO annotation file' in capsys.readouterr().err
