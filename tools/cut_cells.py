"""Cut single cells out of the photographs of data/bccd, as pictures for a classifier: this made data/cells.

    python tools/cut_cells.py --out data/cells

Each box of a white cell or of platelets gives one picture. Of the red cells, which are ten times as many, as many are
drawn as there are white cells, always the same. The photographs keep the split that the data set has.
"""

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

SPLITS = ('train', 'val', 'test')
MARGIN = 0.1  # of the box's longer side, on each side of it


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='cut_cells.py', description='Cut single cells out of annotated photographs.')
    parser.add_argument('--source', default='data/bccd', help='folder of the photographs (default: data/bccd)')
    parser.add_argument('--out', required=True, help='folder for the pictures, SPLIT/CLASS/*.jpg')
    parser.add_argument('--size', type=int, default=64, help='side of a picture in pixels (default: 64)')
    return parser


def main(args: list[str] | None = None) -> int:
    """Run the tool.

    Args:
        args: Command line without the program's name, `sys.argv` by default.

    Returns:
        Exit code: 0, or 2 after a user's mistake.
    """
    options = _parser().parse_args(args)
    try:
        if options.size < 1:
            raise ValueError(f'--size must be at least 1, but is {options.size}')
        source, out = Path(options.source), Path(options.out)
        for split in SPLITS:
            if any((out / split).glob('*/*')):
                raise ValueError(f'--out: {out / split} holds pictures already, name another folder')
        for split in SPLITS:
            print(f'{split}: {_cut(source, split, out / split, options.size)}')
    except (ValueError, OSError) as error:
        print(f'cut_cells.py: {error}', file=sys.stderr)
        return 2
    return 0


def _cut(source: Path, split: str, out: Path, size: int) -> dict[str, int]:
    """Write the pictures of one split; how many there are of each class."""
    from PIL import Image

    path = source / f'{split}.json'
    try:
        chosen = _choose(table := json.loads(path.read_text(encoding='utf-8')))
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f'{path} must be a COCO annotation file, but is none ({error!r})') from error
    for image in table['images']:
        with Image.open(source / 'images' / image['file_name']) as file:
            photograph = file.convert('RGB')
        for label, boxes in chosen.items():
            for box in (box for box in boxes if box['image_id'] == image['id']):
                target = out / label / f'{Path(image["file_name"]).stem}_{box["id"]}.jpg'
                target.parent.mkdir(parents=True, exist_ok=True)
                cell = photograph.crop(_square(box['bbox'], photograph.size))
                cell.resize((size, size), Image.Resampling.BICUBIC).save(target, quality=90)
    return {label: len(boxes) for label, boxes in chosen.items()}


def _choose(table: dict[str, Any]) -> dict[str, list[dict]]:
    """Boxes of each class with a pixel in them: all, but never more than the second largest class has."""
    boxes: dict[str, list[dict]] = {}
    whole = [box for box in table['annotations'] if min(box['bbox'][2:]) >= 1]
    for category in table['categories']:
        boxes[category['name']] = [box for box in whole if box['category_id'] == category['id']]
    most = sorted(map(len, boxes.values()))[-2:][0]
    draw = random.Random(0)
    return {label: found if len(found) <= most else draw.sample(found, most) for label, found in boxes.items()}


def _square(box: list[float], photograph: tuple[int, int]) -> tuple[int, int, int, int]:
    """Square (left, top, right, bottom) around a box (left, top, width, height), shifted into the photograph."""
    left, top, width, height = box
    side = min(round(max(width, height) * (1 + 2 * MARGIN)), *photograph)
    x, y = (
        min(max(round(start + extent / 2 - side / 2), 0), whole - side)
        for start, extent, whole in zip((left, top), (width, height), photograph, strict=True)
    )
    return x, y, x + side, y + side


if __name__ == '__main__':
    sys.exit(main())
