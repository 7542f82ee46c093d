"""Run an exported model on pictures with nothing but numpy, pillow and onnxruntime: copy this file and go.

    python edge.py MODEL.onnx PICTURE_OR_FOLDER --output DIR

Reads the card `MODEL.json` beside the model (else the metadata inside of it), prepares pictures as the card says,
prints what is found, and writes every picture with it drawn in, and `results.json`.
"""

import argparse
import colorsys
import hashlib
import io
import json
import math
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

ENDINGS = {'.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp'}
KINDS = ('classifier', 'pyramid', 'detector', 'segmentor')
# to crop and squash as timm does, with pillow's own filters; the others resize as OpenCV does
PILLOW, OPENCV = ('bicubic', 'bilinear'), ('bilinear', 'bicubic')
MODES = {'crop': PILLOW, 'squash': PILLOW, 'keep_ratio': OPENCV, 'stretch': OPENCV, 'pad': OPENCV}
BITS = 11  # of the weights that OpenCV resizes bytes with

try:
    import numpy as np
    import onnxruntime
    from PIL import Image, ImageDraw, ImageFont, ImageOps
except ImportError as missing:
    print(f'edge.py: {missing}: pip install numpy pillow onnxruntime', file=sys.stderr)
    sys.exit(2)

Outputs = dict[str, np.ndarray]


class Prepared(NamedTuple):
    """A picture as the file takes it (1, C, H, W), its height and width without padding, and its factors (x, y)."""

    tensor: np.ndarray
    size: tuple[int, int]
    factors: tuple[float, float]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='edge.py', description='Run an exported model on pictures.')
    parser.add_argument('model', type=Path, help='the .onnx file, with its card (.json) beside it')
    parser.add_argument('input', type=Path, help='picture or folder of pictures')
    parser.add_argument('--output', type=Path, default='outputs/edge', metavar='DIR', help='default: outputs/edge')
    parser.add_argument('--score-threshold', type=float, help='leave out boxes below it, of a detector (default: 0.3)')
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
        return _run(options)
    except (ValueError, OSError) as error:
        print(f'edge.py: {" ".join(str(error).split())}', file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    threshold = 0.3 if options.score_threshold is None else options.score_threshold
    if not 0 <= threshold < 1:
        raise ValueError(f'--score-threshold must lie in [0, 1), but is {threshold}.')
    model = Model(options.model)
    if options.score_threshold is not None and model.kind != 'detector':
        raise ValueError(f'--score-threshold is for detectors, but {options.model} is a {model.kind}: leave it out.')
    paths = _pictures(options.input, options.output)
    folder = options.input if options.input.is_dir() else options.input.parent
    targets = {path: _targets(options.output, path.relative_to(folder), model.kind) for path in paths}
    results, file = {}, options.output / 'results.json'
    read = [*paths, options.model, options.model.with_suffix('.json')]
    _spare(read, file, [path for pair in targets.values() for path in pair])
    options.output.mkdir(parents=True, exist_ok=True)
    try:
        for path in paths:
            try:
                image = _read(path)
                start = time.perf_counter()
                prepared = model.prepare(image)
                between = time.perf_counter()
                outputs = model.run(prepared)
                spent = time.perf_counter() - between
            except ValueError as error:
                print(f'edge.py: {path} is skipped: {" ".join(str(error).split())}', file=sys.stderr)
                continue
            found = model.found(outputs, prepared, image, threshold)
            name = path.relative_to(folder).as_posix()
            print(f'{name}: {found.words} (prepared in {(between - start) * 1e3:.1f} ms, run in {spent * 1e3:.1f} ms)')
            results[name] = {'width': image.width, 'height': image.height, **found.record}
            if not file.exists():  # whatever ends this run, the next one sees whose drawings these are
                _save(file, results)
            for target, picture in zip(targets[path], found.pictures, strict=True):
                _save(target, picture)
    finally:  # a full disk or Ctrl-C does not take what was found before
        if results:
            _save(file, results)
    if not results:
        raise ValueError(f'none of the {len(paths)} pictures of {options.input} can be read and run.')
    print(f'{len(results)} pictures, {len(paths) - len(results)} skipped; look at {options.output}.')
    return 0


def _pictures(path: Path, output: Path) -> list[Path]:
    """The picture, or those of the folder, without what was written below an `output` inside of it."""
    if path.is_file():
        return [path]
    found = sorted(p for p in path.rglob('*') if p.suffix.lower() in ENDINGS and p.is_file())
    if path.resolve() in (own := output.resolve()).parents:
        found = [p for p in found if not p.resolve().is_relative_to(own)]
    if not found:
        raise ValueError(f'there is no picture {path}' + (' in it.' if path.is_dir() else ', and no such folder.'))
    return found


def _targets(folder: Path, name: Path, kind: str) -> list[Path]:
    """Where the drawing of a picture goes, and the map of its classes."""
    other = name.with_name(f'{name.name}.png')
    drawing = folder / (name if name.suffix.lower() in ('.jpg', '.jpeg', '.png') else other)
    return {'pyramid': [], 'segmentor': [drawing, folder / 'classes' / other]}.get(kind, [drawing])


def _spare(inputs: list[Path], file: Path, drawings: list[Path]) -> None:
    """Refuse to write over an input, by whatever name it goes, over what is not of an earlier run, or twice."""
    if twice := [path for path, count in Counter(drawings).items() if count > 1]:
        raise ValueError(f'each picture needs a drawing of its own, but two would be {twice[0]}: rename one of them.')
    own, taken = _is_ours(file), {(path.stat().st_dev, path.stat().st_ino) for path in inputs if path.exists()}
    for target in (path for path in [file, *drawings] if path.is_file()):
        read = (target.stat().st_dev, target.stat().st_ino) in taken
        if read or not own:
            what = 'that is read' if read else f'but what an earlier run wrote (and lists in {file.name})'
            raise ValueError(f'nothing {what} may be overwritten, but {target} would be: give --output another folder.')


def _is_ours(file: Path) -> bool:
    """Whether results lie there that this tool wrote."""
    try:
        return all({'width', 'height'} <= record.keys() for record in json.loads(file.read_bytes()).values())
    except (OSError, ValueError, AttributeError):
        return False


def _read(path: Path) -> Image.Image:
    """RGB; of 16 bits the upper 8, as OpenCV's reader does it.

    Raises:
        ValueError: No picture, or one whose black and white nothing tells.
    """
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
        if image.mode.startswith('I;16'):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode in ('I', 'F'):
            raise ValueError(f'mode {image.mode} does not tell what is white, save it with 8 bits')
        return image.convert('RGB')
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f'it cannot be read as a picture: {error}') from error


class Found(NamedTuple):
    """What a picture holds: in words, for `results.json`, and drawn, where there is one with a map of classes."""

    words: str
    record: dict[str, Any]
    pictures: tuple[Image.Image, ...] = ()


def _save(path: Path, what: Image.Image | dict[str, Any]) -> None:
    """All of a file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(what, dict):
        data = json.dumps(what, indent=1).encode()
    else:
        what.save(buffer := io.BytesIO(), 'PNG' if path.suffix.lower() == '.png' else 'JPEG', quality=92)
        data = buffer.getvalue()
    part = path.with_name(f'.{path.name}.part')
    part.write_bytes(data)
    os.replace(part, path)


# The model and its card


class Model:
    """An exported file with what its card says.

    Args:
        path: The `.onnx` file.

    Raises:
        ValueError: No such file, the card of another file, a field that nothing tells, or an input or output of a kind
            that is not known.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ValueError(f'there is no model {path}.')
        self.card, self.origin = _card(path)
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(os.fspath(path), settings, providers=['CPUExecutionProvider'])
        except Exception as error:
            raise ValueError(f'ONNX Runtime cannot load {path}: {str(error).splitlines()[0]}') from error
        self.facts = _facts(self.session, self.card)
        self.names = [output.name for output in self.session.get_outputs()]
        self.kind = str(self.facts.get('kind') or _kind(self.names))
        self.classes: list[str] = self.facts.get('classes') or []
        self._check(path)
        axes = self.session.get_inputs()[0].shape
        self.batch = axes[0] if isinstance(axes[0], int) else 1
        self.fixed = (axes[2], axes[3]) if all(isinstance(axis, int) for axis in axes[2:]) else None
        try:  # whatever is wrong with the facts shows on any picture
            self.prepare(Image.new('RGB', (9, 7)))
        except Exception as error:
            raise ValueError(f'pictures cannot be prepared as {self.origin} or {path} say: {error}') from error

    def _check(self, path: Path) -> None:
        needed = ('size', 'pixel_range', 'resize', *(() if self.facts.get('normalize') else ('mean', 'std')))
        if missing := [key for key in needed if not self.facts.get(key)]:
            raise ValueError(
                f'neither {self.origin} nor the metadata of {path} say {", ".join(missing)}: write the file and its '
                'card again with tools/export.py.'
            )
        names = {*self.names}
        reads = {'detector': names >= {'dets', 'labels'}, 'segmentor': not names.isdisjoint(('mask', 'logits'))}
        if self.kind not in KINDS or not reads.get(self.kind, True):
            raise ValueError(f'{path} is a {self.kind}, but gives {", ".join(self.names)}: this tool cannot read that.')
        if not isinstance(self.classes, list):
            raise ValueError(f'classes must be a list of names, but {self.origin} or the file says {self.classes!r}.')
        taken = [(entry.name, entry.shape) for entry in self.session.get_inputs()]
        if len(taken) != 1 or len(taken[0][1]) != 4:
            raise ValueError(f'{path} must take pictures (batch, 1 or 3, height, width) alone, but takes {taken}.')

    def prepare(self, image: Image.Image) -> Prepared:
        """The picture as the file takes it."""
        return prepare(image, self.facts, self.fixed)

    def run(self, prepared: Prepared) -> Outputs:
        """Outputs of one picture, without their batch axis.

        Raises:
            ValueError: The file does not take it.
        """
        tensor = np.repeat(prepared.tensor, self.batch, 0)
        try:
            values: Any = self.session.run(self.names, {self.session.get_inputs()[0].name: tensor})
        except Exception as error:
            raise ValueError(f'the model does not run on {tensor.shape}: {str(error).splitlines()[0]}') from error
        return {name: value[0] for name, value in zip(self.names, values, strict=True)}

    def found(self, outputs: Outputs, prepared: Prepared, image: Image.Image, threshold: float) -> Found:
        """What the outputs say about the picture."""
        if self.kind == 'classifier':
            return _classified(outputs[self.names[0]], self.classes, image)
        if self.kind == 'segmentor':
            return _segmented(outputs, prepared, self.classes, image)
        if self.kind == 'detector':
            return _detected(outputs, prepared, self.classes, image, threshold)
        shapes = {name: list(value.shape) for name, value in outputs.items()}
        return Found(', '.join(f'{name} {shape}' for name, shape in shapes.items()), {'maps': shapes})


def _card(path: Path) -> tuple[dict[str, Any], str]:
    """The card beside the model, empty if there is none, and what to call it.

    Raises:
        ValueError: It is no card, or that of another file.
    """
    file = path.with_suffix('.json')
    if not file.is_file():
        return {}, f'a card {file.name} (there is none)'
    try:
        card = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{file} must be a card in JSON, but cannot be read: {error}') from error
    if not isinstance(card, dict):
        raise ValueError(f'{file} must be a card, one JSON object, but holds a {type(card).__name__}.')
    files, taken = card.get('files') or [], card.get('input') or {}
    if not isinstance(files, list) or not all(isinstance(part, dict) for part in [*files, taken]):
        raise ValueError(f'{file} must hold a list of objects files and an object input, but has {files} and {taken}.')
    given = hashlib.sha256(path.read_bytes()).hexdigest()
    known = [str(entry.get('sha256')) for entry in files]
    if given not in known:
        raise ValueError(
            f'{file} is the card of another file: it says sha256 {[name[:12] for name in known]}, but {path} has '
            f'{given[:12]}....'
        )
    return card, str(file)


def _facts(session: Any, card: dict[str, Any]) -> dict[str, Any]:
    """One level of facts: what the metadata says, and over it the card."""
    facts = {key: _value(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
    facts['size'] = facts.get('input_size')
    for part in (card, card.get('input') or {}):
        facts.update({key: value for key, value in part.items() if value is not None})
    return facts


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # words are written as they are
        return text


def _kind(names: list[str]) -> str:
    if {'dets', 'labels'} <= {*names}:
        return 'detector'
    if names[0] in ('mask', 'logits'):
        return 'segmentor'
    return 'pyramid' if names[0].startswith('feat_') else 'classifier'


def _name(classes: list[str], label: int) -> str:
    return str(classes[label]) if 0 <= label < len(classes) else f'class {label}'


# Preparing pictures


def prepare(image: Image.Image, facts: dict[str, Any], fixed: tuple[int, int] | None = None) -> Prepared:
    """Resize, cut or pad, scale and order a picture as a card says.

    Args:
        image: RGB picture.
        facts: `size`, `resize`, `pixel_range`, `channel_order`, and `mean` and `std` unless `normalize`.
        fixed: (height, width) that a file of one shape takes.

    Raises:
        ValueError: A way to resize that is not known, or another number of channels than 1 or 3.
    """
    channels, height, width = facts['size']
    how = facts['resize'] if isinstance(facts['resize'], dict) else {}
    mode, interpolation = how.get('mode'), how.get('interpolation', 'bilinear')
    if mode not in MODES or interpolation not in MODES[mode]:
        known = ', '.join(f'{mode} ({" or ".join(names)})' for mode, names in MODES.items())
        raise ValueError(f'resize must be an object with one of the modes {known}, but is {facts["resize"]!r}.')
    if channels not in (1, 3):
        raise ValueError(f'size must be (1 or 3, height, width), but is {facts["size"]}.')
    if mode in ('crop', 'squash'):
        share = float(how.get('crop_pct') or 0.875)
        pixels = np.asarray(_cut(image, (height, width), share, interpolation, mode == 'squash'))
    else:
        wide, tall = how.get('scale') or (width, height)
        if mode != 'stretch':
            wide, tall = _within(image.size, (wide, tall), fixed)
        pixels = resize(np.asarray(image), (wide, tall), interpolation)
        if (side := how.get('stretch_to')) and not fixed:
            pixels = resize(pixels, (-(-wide // side) * side, -(-tall // side) * side), interpolation)
    tall, wide = pixels.shape[:2]
    tensor, least = _scaled(pixels, channels, facts), how.get('pad_to') or 1
    sides = (max(tall, height), max(wide, width)) if mode == 'pad' else (tall, wide)
    whole = fixed if fixed and mode in ('keep_ratio', 'pad') else tuple(-(-side // least) * least for side in sides)
    if whole != (tall, wide):
        tensor = _padded(tensor, whole, how, facts)
    return Prepared(tensor[None], (tall, wide), (wide / image.width, tall / image.height))


def _cut(image: Image.Image, size: tuple[int, int], share: float, interpolation: str, squash: bool) -> Image.Image:
    """timm's evaluation: the shorter side, or both if squashed, to size / share, then the centre."""
    height, width = size
    tall, wide = math.floor(height / share), math.floor(width / share)
    if squash:
        target = (wide, tall)
    elif tall == wide:  # torchvision's rounding: down
        short = min(image.size)
        target = tuple(tall if side == short else int(tall * side / short) for side in image.size)
    else:  # timm's own: to the nearest
        ratio = min(image.height / tall, image.width / wide)
        target = (round(image.width / ratio), round(image.height / ratio))
    image = image.resize(target, Image.Resampling[interpolation.upper()])  # type: ignore[arg-type]
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _within(size: tuple[int, int], most: tuple[int, int], fixed: tuple[int, int] | None) -> tuple[int, int]:
    """(width, height) in the proportions of `size`, as large as the longer and the shorter side of `most` allow.

    A file of one shape cannot turn `most` to suit the picture: then it must also fit inside (height, width).
    """
    factor = min(max(most) / max(size), min(most) / min(size))
    if fixed:
        factor = min(factor, fixed[1] / size[0], fixed[0] / size[1])
    return max(1, int(size[0] * factor + 0.5)), max(1, int(size[1] * factor + 0.5))


def resize(pixels: np.ndarray, size: tuple[int, int], interpolation: str = 'bilinear') -> np.ndarray:
    """As OpenCV resizes bytes: from pixel centres, without antialiasing, with weights of 11 bits.

    Args:
        pixels: uint8 (H, W, C).
        size: (width, height).
        interpolation: 'bilinear' or 'bicubic'.

    Returns:
        uint8 (height, width, C).
    """
    if size == pixels.shape[1::-1]:
        return pixels
    lengths = zip(size, pixels.shape[1::-1], strict=True)
    across, down = (_taps((np.arange(new) + 0.5) * (old / new) - 0.5, old, interpolation) for new, old in lengths)
    source = pixels.astype(np.int32)
    wide: Any = sum(source[:, columns] * x[:, None] for columns, x in across)  # H width C
    total: Any
    if interpolation == 'bicubic':
        total, bits = sum(wide[rows] * y[:, None, None] for rows, y in down), 2 * BITS
    else:  # bits are cut off on the way
        total, bits = sum((wide >> 4)[rows] * y[:, None, None] >> 16 for rows, y in down), 2
    return (total + (1 << bits - 1) >> bits).clip(0, 255).astype(np.uint8)


def _taps(places: np.ndarray, count: int, interpolation: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Elements whose weighted sum each place is, and their weights in units of 2 ** -11: two or four pairs."""
    if interpolation == 'bicubic':
        first, a = np.floor(places), -0.75  # of Keys' kernel, as OpenCV has it
        pairs = []
        for tap in range(-1, 3):
            far = np.abs(places - first - tap)
            near = ((a + 2) * far - (a + 3)) * far**2 + 1
            weights = np.where(far <= 1, near, ((a * far - 5 * a) * far + 8 * a) * far - 4 * a)
            pairs.append(((first + tap).clip(0, count - 1).astype(int), weights))
    else:
        left, right, second = _neighbours(places, count)
        pairs = [(left, 1 - second), (right, second)]
    return [(found, np.rint(weights * (1 << BITS)).astype(np.int32)) for found, weights in pairs]


def _neighbours(places: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two of `count` elements that each place lies between, and the weight of the second."""
    places = places.clip(0, count - 1)
    first = np.floor(places).astype(int)
    return first, np.minimum(first + 1, count - 1), (places - first).astype(np.float32)


def sample(values: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear values (len(y), len(x), ...) of an array (H, W, ...) at columns `x` and rows `y`."""
    (left, right, across), (top, bottom, down) = _neighbours(x, values.shape[1]), _neighbours(y, values.shape[0])
    across = across.reshape(-1, *[1] * (values.ndim - 2))
    down = down.reshape(-1, *[1] * (values.ndim - 1))
    rows = values[:, left] * (1 - across) + values[:, right] * across
    return rows[top] * (1 - down) + rows[bottom] * down


def _scaled(pixels: np.ndarray, channels: int, facts: dict[str, Any]) -> np.ndarray:
    """float32 (C, H, W) in the range, order and scale of the file."""
    if channels == 1:
        pixels = np.asarray(Image.fromarray(pixels).convert('L'))[..., None]
    elif facts.get('channel_order', 'rgb') != 'rgb':  # 'bgr', or as OpenCV loads it, which is the same
        pixels = pixels[..., ::-1]
    tensor = np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32)
    tensor = tensor / np.float32(255) if facts['pixel_range'][1] == 1 else tensor
    if facts.get('normalize'):
        return tensor
    mean, std = (np.asarray(facts[key], np.float32).reshape(-1, 1, 1) for key in ('mean', 'std'))
    return (tensor - mean) / std


def _padded(tensor: np.ndarray, size: tuple[int, ...], how: dict[str, Any], facts: dict[str, Any]) -> np.ndarray:
    """Rows below and columns to the right up to (height, width).

    They hold the colour `pad_value` of the card, or 0 behind the normalisation.
    """
    fill = np.zeros((len(tensor), 1, 1), np.float32)
    if how.get('pad_value') is not None:
        fill += _scaled(np.full((1, 1, 3), how['pad_value'], np.uint8), len(tensor), facts)
    elif facts.get('normalize') and facts.get('mean'):  # the graph makes 0 of it
        fill += np.asarray(facts['mean'], np.float32).reshape(-1, 1, 1)
    whole = np.broadcast_to(fill, (len(tensor), *size)).copy()
    whole[:, : tensor.shape[1], : tensor.shape[2]] = tensor
    return whole


# What was found


def _classified(logits: np.ndarray, classes: list[str], image: Image.Image) -> Found:
    flat = logits.astype(np.float64).ravel()
    scores = np.exp(flat - flat.max())
    scores /= scores.sum()
    best = [(_name(classes, int(i)), float(scores[i])) for i in np.argsort(-scores, kind='stable')[:5]]
    drawing = image.copy()
    _label(ImageDraw.Draw(drawing), (4, 4), f'{best[0][0]} {best[0][1]:.2f}', (0, 0, 0))
    words = ', '.join(f'{name} {score:.3f}' for name, score in best)
    return Found(words, {'classes': [{'label': name, 'score': round(score, 4)} for name, score in best]}, (drawing,))


def _detected(outputs: Outputs, made: Prepared, classes: list[str], image: Image.Image, threshold: float) -> Found:
    dets, labels = outputs['dets'], outputs['labels'].astype(int)
    real = (dets[:, :2] < made.size[::-1]).all(1)  # not in what was padded
    keep = np.flatnonzero((labels >= 0) & (dets[:, 4] > threshold) & real)
    whole = dets[keep, :4].astype(np.float64) / [*made.factors, *made.factors]
    boxes = whole.clip(0, [*image.size, *image.size])
    records = [
        {'label': _name(classes, label), 'score': round(float(score), 4), 'box': [round(side, 2) for side in box]}
        for label, score, box in zip(labels[keep].tolist(), dets[keep, 4], boxes.tolist(), strict=True)
    ]
    drawing = image.copy()
    if 'masks' in outputs:
        pixels = np.asarray(image).copy()
        for index, box, record in zip(keep.tolist(), whole, records, strict=True):
            inside, (left, top) = _mask(outputs['masks'][index], box, image.size)
            part = pixels[top : top + inside.shape[0], left : left + inside.shape[1]]
            part[inside] = part[inside] // 2 + np.asarray(_colour(int(labels[index])), np.uint8) // 2
            record['pixels'] = int(inside.sum())
        drawing = Image.fromarray(pixels)
    draw = ImageDraw.Draw(drawing)
    for label, box, record in zip(labels[keep].tolist(), boxes.tolist(), records, strict=True):
        draw.rectangle(box, outline=_colour(label), width=3)
        _label(draw, (box[0] + 3, max(2, box[1] - 16)), f'{record["label"]} {record["score"]:.2f}', _colour(label))
    counts = Counter(record['label'] for record in records)
    words = ', '.join(f'{count} {name}' for name, count in counts.most_common()) or 'nothing'
    return Found(words, {'instances': records}, (drawing,))


def _mask(grid: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """Which pixels of the picture's part under the box are inside (H, W), and the part's left and top."""
    low = np.floor(box[:2]).clip(0, size).astype(int)
    high = np.ceil(box[2:]).clip(0, size).astype(int)
    rim = np.pad(grid.astype(np.float32), 1)  # outside of the box there is nothing
    x, y = (
        (np.arange(low[i], high[i]) + 0.5 - box[i]) / max(box[i + 2] - box[i], 1e-6) * grid.shape[1 - i] + 0.5
        for i in (0, 1)
    )
    return sample(rim, x, y) >= 0.5, (int(low[0]), int(low[1]))


def _segmented(outputs: Outputs, made: Prepared, classes: list[str], image: Image.Image) -> Found:
    tall, wide = made.size
    x, y = ((np.arange(new) + 0.5) * (old / new) - 0.5 for new, old in ((image.width, wide), (image.height, tall)))
    if 'mask' in outputs:
        rows, columns = (np.rint(places).clip(0, count - 1).astype(int) for places, count in ((y, tall), (x, wide)))
        numbers = outputs['mask'][:tall, :wide][rows][:, columns]
    else:
        logits = sample(outputs['logits'][:, :tall, :wide].transpose(1, 2, 0).astype(np.float32), x, y)
        numbers = logits.argmax(-1) if logits.shape[-1] > 1 else (logits[..., 0] > 0)
    numbers = numbers.astype(np.uint8)
    shares = np.bincount(numbers.ravel()) / numbers.size
    palette = np.array([_colour(label) for label in range(len(shares))], np.uint8)
    drawing = Image.fromarray(np.asarray(image) // 2 + palette[numbers] // 2)
    named = {_name(classes, i): round(float(shares[i]), 4) for i in np.flatnonzero(shares).tolist()}
    words = ', '.join(f'{name} {share:.1%}' for name, share in named.items())
    return Found(words, {'shares': named}, (drawing, Image.fromarray(numbers)))


def _colour(label: int) -> tuple[int, int, int]:
    """Colours that lie far apart: each turns the hue by the golden angle."""
    red, green, blue = colorsys.hsv_to_rgb(0.58 + label * 0.618034, 0.85, 0.95)
    return int(red * 255), int(green * 255), int(blue * 255)


def _label(draw: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, colour: tuple[int, int, int]) -> None:
    """Text on a ground of the colour, in black or white, whichever is the stronger contrast."""
    font = ImageFont.load_default(13)
    x1, y1, x2, y2 = draw.textbbox(corner, text, font=font)
    draw.rectangle((x1 - 3, y1 - 2, x2 + 3, y2 + 2), fill=colour)
    light = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]
    draw.text(corner, text, fill='black' if light > 128 else 'white', font=font)


if __name__ == '__main__':
    sys.exit(main())
