"""What `demo.py` leaves for people: photographs with boxes drawn in, and one HTML page that holds all it shows."""

import base64
import io
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __package__:
    from tools import files
else:  # run as a script: this folder is on the path
    import files

THRESHOLD = 0.4  # boxes with less are not drawn
SHOWN = 12  # photographs on the page


@dataclass(frozen=True)
class Picture:
    """A photograph of the test split; boxes are left, top, width, height in its pixels."""

    id: int
    path: Path
    boxes: list[list[float]]
    labels: list[int]


@dataclass(frozen=True)
class Split:
    """The test split: classes in the order of the labels, their colours and COCO categories, and the pictures."""

    annotations: Path
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    categories: tuple[int, ...]
    pictures: tuple[Picture, ...]


@dataclass
class Results:
    """What one way found and how long each picture took, in seconds. Boxes are COCO results with their label."""

    boxes: list[dict[str, Any]] = field(default_factory=list)
    model: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Drawing:
    """One side of a photograph: what is drawn into it, and how many of each class."""

    boxes: list[list[float]]
    labels: list[int]
    scores: list[float] | None

    def counts(self, classes: Iterable[str]) -> str:
        """As words."""
        found = Counter(self.labels)
        return ', '.join(f'{found[label]} {name}' for label, name in enumerate(classes))

    def image(self, path: Path, split: Split) -> Any:
        """The photograph with boxes, classes and, of what was found, scores."""
        from PIL import Image, ImageDraw, ImageFont

        with Image.open(path) as file:
            image = file.convert('RGB')
        draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
        for i, ((left, top, width, height), label) in enumerate(zip(self.boxes, self.labels, strict=True)):
            colour, text = split.palette[label], split.classes[label]
            if self.scores is not None:
                text = f'{text} {self.scores[i]:.2f}'
            draw.rectangle((left, top, left + width, top + height), outline=colour, width=3)
            corner = left + 3, max(2, top - 16)
            x1, y1, x2, y2 = draw.textbbox(corner, text, font=font)
            draw.rectangle((x1 - 3, y1 - 2, x2 + 3, y2 + 2), fill=colour)
            draw.text(corner, text, fill=_ink(colour), font=font)
        return image


def truth(picture: Picture) -> Drawing:
    """What people marked."""
    return Drawing(picture.boxes, picture.labels, None)


def found(picture: Picture, boxes: list[dict[str, Any]]) -> Drawing:
    """What is sure enough of what was found."""
    own = [box for box in boxes if box['image_id'] == picture.id and box['score'] >= THRESHOLD]
    return Drawing([box['bbox'] for box in own], [box['label'] for box in own], [box['score'] for box in own])


def draw(folder: Path, split: Split, boxes: list[dict[str, Any]], pictures: Iterable[Picture]) -> None:
    """One JPEG for each photograph: on the left what people marked, on the right what was found."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for picture in pictures:
        left, right = (side.image(picture.path, split) for side in (truth(picture), found(picture, boxes)))
        both = Image.new('RGB', (left.width + right.width + 8, left.height), 'white')
        both.paste(left, (0, 0))
        both.paste(right, (left.width + 8, 0))
        files.write(folder / f'{picture.path.stem}.jpg', _jpeg(both, 90))


def page(
    title: str, split: Split, scores: dict[str, list[float]], results: dict[str, Results], facts: dict[str, Any]
) -> str:
    """The HTML page.

    Args:
        title: Name of the detector.
        split: What was searched.
        scores: Way -> AP, AP50 and the AP of each class, in percent; PyTorch first, ONNX Runtime second.
        results: Way -> what it found.
        facts: Name -> value, for the list at the end; `tolerance` and `threads` go into the text.
    """
    import jinja2

    tolerance, threads = facts.pop('tolerance'), facts.pop('threads')
    first, second = scores
    medians = {name: statistics.median(result.model) for name, result in results.items()}
    latencies = [
        {
            'runtime': name,
            'model': _milliseconds(result.model),
            'total': _milliseconds(result.total),
            'share': round(100 * medians[name] / max(medians.values()), 1),
            'best': medians[name] == min(medians.values()),
        }
        for name, result in results.items()
    ]
    pictures = split.pictures[:: max(1, len(split.pictures) // SHOWN)][:SHOWN]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(Path(__file__).with_name('demo_page.html').read_text(encoding='utf-8'))
    return template.render(
        model=title,
        count=len(split.pictures),
        highlights=[
            (f'{scores[second][1]:.1f} %', f'AP50 with {second}'),
            (f'{scores[second][0]:.1f} %', f'AP with {second}'),
            (f'{abs(scores[first][0] - scores[second][0]):.2f}', f'points of AP from {first}'),
            (f'{medians[first] / medians[second]:.1f} ×', f'as fast as {first}, model only'),
        ],
        metrics=['AP', 'AP50', *split.classes],
        precision={name: [f'{value:.2f}' for value in values] for name, values in scores.items()},
        tolerance=tolerance,
        threads=threads,
        latencies=latencies,
        threshold=THRESHOLD,
        key=[(name, f'rgb{colour}') for name, colour in zip(split.classes, split.palette, strict=True)],
        shown=[_shown(picture, results[second].boxes, split) for picture in pictures],
        facts=facts,
    )


def _shown(picture: Picture, boxes: list[dict[str, Any]], split: Split) -> dict[str, Any]:
    """What the page says about one photograph."""
    sides = []
    for name, side in (('Ground truth', truth(picture)), ('Found', found(picture, boxes))):
        image = side.image(picture.path, split)
        counts = side.counts(split.classes)
        sides.append({'name': name, 'uri': uri(image), 'counts': counts, 'width': image.width, 'height': image.height})
    return {'name': picture.path.stem, 'sides': sides}


def uri(image: Any) -> str:
    """A picture as a page can hold it."""
    return 'data:image/jpeg;base64,' + base64.b64encode(_jpeg(image, 80)).decode()


def _ink(colour: tuple[int, int, int]) -> str:
    """Black or white, whichever reads better on the colour (relative luminance of WCAG 2)."""
    linear = [(c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4) for c in colour]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 'black' if luminance > 0.179 else 'white'


def _jpeg(image: Any, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, 'JPEG', quality=quality, optimize=True)
    return file.getvalue()


def _milliseconds(seconds: list[float]) -> tuple[str, str]:
    """Median, and both quartiles in words."""
    quartiles = statistics.quantiles(seconds, n=4, method='inclusive') if len(seconds) > 1 else [seconds[0]] * 3
    first, middle, third = (1e3 * t for t in quartiles)
    return f'{middle:.1f}', f'{first:.1f} to {third:.1f}'
