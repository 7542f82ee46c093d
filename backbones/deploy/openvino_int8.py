"""OpenVINO files with int8 weights and activations, by NNCF, and how far they drift from what they were made from."""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .openvino import compiled, put, reason, require, save, target
from .quiet import quiet
from .verify import Disagreement, _overlap

__all__ = ['Int8Report', 'quantize_openvino']

SCORE, OVERLAP = 0.3, 0.75  # boxes that count, and when two are the same


@dataclass(frozen=True)
class Int8Report:
    """What was written and how far it drifts.

    Attributes:
        path: The file `.xml`; its weights lie beside it as `.bin`.
        size: Bytes of both files.
        before: Bytes of both files that it was made from.
        pictures: Pictures that both ran on.
        error: Output -> root of the mean squared difference, relative to that of the values; of class numbers, the
            share of the pixels that are of another class; not of boxes.
        top1: Share of pictures with the same largest output, of a classifier.
        boxes: Share of the boxes with a score of 0.3 or more that the other file has too, of a detector.
        version: Version of NNCF.
    """

    path: Path
    size: int
    before: int
    pictures: int
    error: dict[str, float]
    top1: float | None
    boxes: float | None
    version: str


def quantize_openvino(
    xml: str | os.PathLike,
    path: str | os.PathLike,
    calibration: Any,
    *,
    samples: Any = None,
    limit: float = 0.5,
) -> Int8Report:
    """Quantise a file of `export_openvino` after training, and measure how far the new file drifts.

    Ranges are taken from pictures that pass through the file one at a time. NNCF reports its use to its maker unless
    that was declined (`opt_in_out --opt_out`).

    Args:
        xml: The file with float weights.
        path: Where the new `.xml` goes; the weights go beside it.
        calibration: Pictures (N, C, H, W) as the file takes them, of the kind that it will see, or a list of such
            batches, each of its own size; a hundred pictures do.
        samples: Likewise, to measure at; those of the calibration if None.
        limit: Largest error of an output, or share of the boxes that may differ.

    Returns:
        What was written and measured.

    Raises:
        ValueError: An argument that cannot be, or, as `Disagreement`, a file that drifts farther; then there is none.
        ModuleNotFoundError: OpenVINO or NNCF is not installed.
    """
    openvino, nncf = require('openvino'), require('nncf')
    source, path = Path(xml), target(path)
    if not source.is_file() or not source.with_suffix('.bin').is_file():
        raise ValueError(f'xml must name a file of export_openvino, with its .bin beside it, but got {source}.')
    given = _pictures('calibration', calibration)
    seen = given if samples is None else _pictures('samples', samples)
    model = openvino.Core().read_model(os.fspath(source))
    names = [output.get_any_name() for output in model.outputs]
    try:
        with quiet():
            pictures = nncf.Dataset([{'input': picture[None]} for picture in given])
            quantized = nncf.quantize(model, pictures, subset_size=len(given))
    except Exception as error:
        raise ValueError(f'NNCF cannot quantise {source}: {reason(error)}.') from error
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f'.{path.stem}.') as folder:
        part = Path(folder) / path.name
        save(quantized, part, False)
        drift = _drift(compiled(source, (), names), compiled(part, (), names), seen, names)
        found = drift.error if drift.boxes is None else {'dets': 1 - drift.boxes}
        wrong = {name: error for name, error in found.items() if not error <= limit}
        if wrong:
            raise Disagreement(
                f'The int8 file may differ by {limit:g} at most, but does by '
                f'{", ".join(f"{error:.3g} ({name})" for name, error in wrong.items())}: give more or other pictures '
                'as calibration, or stay with float weights.'
            )
        before = sum(source.with_suffix(ending).stat().st_size for ending in ('.xml', '.bin'))
        size = put(part, path)
    return Int8Report(path, size, before, len(seen), drift.error, drift.top1, drift.boxes, nncf.__version__)


def _pictures(name: str, given: Any) -> list[np.ndarray]:
    """Pictures (C, H, W) of an array of them, or of a list of batches.

    Raises:
        ValueError: There are none, or they have other axes.
    """
    batches = given if isinstance(given, list | tuple) and all(np.ndim(batch) >= 4 for batch in given) else [given]
    batches = [np.asarray(batch, np.float32) for batch in batches]
    found = [picture for batch in batches if batch.ndim >= 4 for picture in batch]
    if not found:
        shapes = [batch.shape for batch in batches]
        raise ValueError(
            f'{name} must be pictures (N, C, H, W), at least one, but has shape {shapes[0] if shapes else ()}.'
        )
    return found


Runner = Callable[[np.ndarray], dict[str, np.ndarray]]


class _Drift(NamedTuple):
    """As in `Int8Report`."""

    error: dict[str, float]
    top1: float | None = None
    boxes: float | None = None


def _drift(first: Runner, second: Runner, pictures: Sequence[np.ndarray], names: list[str]) -> _Drift:
    """How far the second drifts from the first."""
    runs = [[run(picture[None]) for picture in pictures] for run in (first, second)]
    if 'dets' in names:
        shared, total = np.sum([_shared(*pair) for pair in zip(*runs, strict=True)], 0).tolist()
        return _Drift({}, boxes=shared / total if total else 1.0)
    errors = {}
    for name in names:
        values, others = (np.concatenate([found[name].ravel() for found in run]) for run in runs)
        if values.dtype.kind in 'iu':
            errors[name] = float((values != others).mean())
            continue
        values, others = values.astype(np.float64), others.astype(np.float64)
        size = np.sqrt((values**2).mean())
        errors[name] = float(np.sqrt(((values - others) ** 2).mean()) / max(size, np.finfo(np.float32).tiny))
    if len(names) > 1 or runs[0][0][names[0]].ndim != 2:
        return _Drift(errors)
    tops = [np.array([found[names[0]].argmax() for found in run]) for run in runs]
    return _Drift(errors, float((tops[0] == tops[1]).mean()))


def _shared(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> tuple[int, int]:
    """Boxes of either side that score enough and that the other side has too, and how many there are.

    A partner needs the same class and overlap, but only half the score, so that none is lost at the border.
    """
    shared = total = 0
    for one, other in ((first, second), (second, first)):
        dets, labels, others, theirs = (side[key][0] for side in (one, other) for key in ('dets', 'labels'))
        keep, near = dets[:, 4] >= SCORE, others[:, 4] >= SCORE / 2
        overlap = _overlap(dets[keep], others[near]) * (labels[keep][:, None] == theirs[near][None])
        shared += int((overlap.max(1, initial=0) >= OVERLAP).sum())
        total += int(keep.sum())
    return shared, total
