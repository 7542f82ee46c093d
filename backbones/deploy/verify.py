"""Run an ONNX file beside the module it was made from and compare every output."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

__all__ = [
    'Check',
    'Disagreement',
    'Thresholds',
    'compare_detections',
    'compare_masks',
    'compare_pixels',
    'compare_proposals',
    'compare_tensors',
    'session',
    'verify',
    'verify_fused',
]

SPIKES = 1e-3  # share of a layer's spikes that rounding may move
PROPOSALS = 1e-2  # share of a picture's proposals that rounding may exchange
FUSED = 1e-12  # what `fuse` may change in float64, relative to the largest value
BORDER = 1e-3  # how near to a threshold (of score or overlap) rounding may decide


@dataclass(frozen=True)
class Check:
    """One output of one run.

    Attributes:
        shape: Shape of the input.
        output: Name of the output.
        error: Largest difference, relative to the largest value of the model's output; of a mask, the least error of
            its logits that explains every pixel which differs.
        boxes: Boxes that were compared; None for an output that holds no boxes.
        spikes: Largest share of a layer's spikes that the model would move; the error is then that of the model with
            the file's spikes in place of its own. None without neurons.
    """

    shape: tuple[int, ...]
    output: str
    error: float
    boxes: int | None = None
    spikes: float | None = None


class Thresholds(NamedTuple):
    """Where a detector cuts: boxes at or below `score` and boxes that overlap a better one by more than `iou` go.

    Of a segmentor with one channel, `score` is what the sigmoid of a pixel's logit must exceed.
    """

    score: float
    iou: float


class Disagreement(ValueError):
    """An exported file does not compute what its model computes."""


def session(model: str | os.PathLike | bytes):
    """ONNX Runtime on the CPU, with as many threads as torch uses."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else os.fspath(model)
    return onnxruntime.InferenceSession(source, options, providers=['CPUExecutionProvider'])


@torch.no_grad()
def verify(
    model: str | os.PathLike | bytes,
    reference: Callable[[torch.Tensor], dict[str, torch.Tensor]],
    names: Sequence[str],
    inputs: Sequence[torch.Tensor],
    tolerance: float,
    thresholds: Thresholds | None = None,
    spikes: Sequence[str] = (),
    forced: Callable[..., tuple[dict[str, torch.Tensor], list[int]]] | None = None,
) -> list[Check]:
    """Compare an ONNX model with what it was made from.

    Args:
        model: File, or its bytes.
        reference: What the model was made from: an input -> every output by its name.
        names: Outputs to compare; if there are thresholds, `dets` and `labels` as sets of boxes, `masks` for the boxes
            that belong together, and `proposals` and `levels` as sets too.
        inputs: Batches to run.
        tolerance: Largest relative error.
        thresholds: Of the detector that gave `dets`.
        spikes: Outputs of the file that are what its neurons give.
        forced: Like `reference`, but given the file's outputs too, of which it takes what rounding may decide about; it
            also gives how many of the spikes the model would move, by layer.

    Returns:
        One entry per input and output (`dets` and `labels` make one, as do `proposals` and `levels`).

    Raises:
        Disagreement: The file does not run, or an output is not that of the reference.
    """
    try:
        run = session(model)
    except Exception as error:
        raise Disagreement(f'ONNX Runtime cannot load the exported model: {_first_line(error)}.') from error
    checks = []
    for x in inputs:
        wanted = [*names, *spikes]
        try:
            given: dict[str, Any] = dict(zip(wanted, run.run(wanted, {'input': x.numpy()}), strict=True))
        except Exception as error:
            raise Disagreement(
                f'ONNX Runtime cannot run the exported model on shape {tuple(x.shape)}: {_first_line(error)}.'
            ) from error
        moved = None
        if forced is None:
            values = reference(x)
        else:
            values, differing = forced(x, {name: torch.from_numpy(value) for name, value in given.items()})
            moved = _moved(differing, [given[name].size for name in spikes]) if spikes else None
        expected = {name: value.numpy() for name, value in values.items() if name in names}
        for name in expected:
            if name == 'mask':
                cut = None if thresholds is None else thresholds.score
                error, boxes = compare_pixels(expected['mask'], given['mask'], values['logits'].numpy(), cut), None
            elif thresholds is None or name not in SETS:
                error, boxes = compare_tensors(expected[name], given[name]), None
            elif SETS[name] is None:
                continue
            else:
                error, boxes = SETS[name](expected, given, tolerance, thresholds)
            checks.append(Check(tuple(x.shape), name, error, boxes, moved))
    wrong = [check for check in checks if not check.error <= tolerance]  # a NaN is wrong too
    if wrong:
        worst = max(wrong, key=lambda check: check.error if np.isfinite(check.error) else np.inf)
        raise Disagreement(
            f'The exported model must agree with PyTorch to {tolerance:g} of the largest value, but output '
            f'{worst.output!r} differs by {worst.error:.3g} at input shape {worst.shape} '
            f'({len(wrong)} of {len(checks)} outputs differ).'
        )
    return checks


def _moved(differing: Sequence[int], sizes: Sequence[int]) -> float:
    """Largest share of a layer's spikes that differ.

    Raises:
        Disagreement: More differ than rounding can move; two are allowed in the smallest layer.
    """
    for layer, (count, size) in enumerate(zip(differing, sizes, strict=True)):
        if count > max(2, SPIKES * size):
            raise Disagreement(
                f'The neurons of the exported model must fire as those of PyTorch for the same input but for '
                f'{SPIKES:g} of them, but {count} of {size} outputs of the neurons called as number {layer} differ.'
            )
    return max((count / size for count, size in zip(differing, sizes, strict=True)), default=0.0)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip('.')


def compare_tensors(expected: np.ndarray, given: np.ndarray) -> float:
    """Largest difference relative to the largest expected value; infinite for other shapes, NaN for NaNs."""
    if expected.shape != given.shape:
        return float('inf')
    if expected.size == 0:
        return 0.0
    difference = np.abs(expected.astype(np.float64) - given.astype(np.float64)).max()
    return float(difference / max(np.abs(expected).max(), np.finfo(np.float32).tiny))


def compare_pixels(expected: np.ndarray, given: np.ndarray, logits: np.ndarray, threshold: float | None) -> float:
    """The least error of the logits, relative to the largest, that explains every pixel of another class.

    Args:
        expected: Classes (B, H, W).
        given: The same from the file.
        logits: What the expected classes were decided by, (B, C, H, W).
        threshold: What the sigmoid of a single channel must exceed for class 1; None for several channels.

    Returns:
        0 where all pixels agree; infinite for other shapes, other types or classes that there are not.
    """
    if expected.shape != given.shape or expected.dtype != given.dtype:
        return float('inf')
    if not given.size:
        return 0.0
    if given.min() < 0 or given.max() >= max(2, logits.shape[1]):
        return float('inf')
    logits = logits.astype(np.float64)
    if threshold is not None:
        gap = np.abs(logits[:, 0] - np.log(threshold / (1 - threshold)))
    else:  # half: one logit may have fallen and the other risen
        own, other = (np.take_along_axis(logits, mask[:, None], 1)[:, 0] for mask in (expected, given))
        gap = (own - other) / 2
    worst = float(gap[expected != given].max(initial=0))
    return worst / max(float(np.abs(logits).max()), np.finfo(np.float32).tiny)


@torch.no_grad()
def verify_fused(plain: Any, fused: Any, image: torch.Tensor) -> list[Check]:
    """Compare a network with what `fuse` made of it, both in float64.

    Args:
        plain: `Exportable` of the network.
        fused: `Exportable` of the fused network; its spikes and proposals take the place of the other's.
        image: Batch of pictures, float64.

    Returns:
        One entry per output; of a detector, the head's maps alone.

    Raises:
        Disagreement: An output differs by more than rounding.
    """
    given = fused.reference(image)
    moved = None
    if fused.forced:
        expected, differing = plain.reference_with(image, {name: given[name] for name in fused.forced})
        moved = _moved(differing, [given[name].numel() for name in fused.spikes]) if fused.spikes else None
    else:
        expected = plain.reference(image)
    maps = [name for name in fused.extra if name not in fused.forced] or list(fused.names)
    checks = [
        Check(tuple(image.shape), name, compare_tensors(expected[name].numpy(), given[name].numpy()), None, moved)
        for name in maps
    ]
    worst = max(checks, key=lambda check: check.error if np.isfinite(check.error) else np.inf)
    if not worst.error <= FUSED:
        raise Disagreement(
            f'The fused model must agree with the model to {FUSED:g} in float64, but output {worst.output!r} '
            f'differs by {worst.error:.3g} at input shape {worst.shape}: give fused=False.'
        )
    return checks


def compare_detections(
    expected: dict[str, np.ndarray], given: dict[str, np.ndarray], tolerance: float, thresholds: Thresholds
) -> tuple[float, int]:
    """Largest relative error of boxes that belong together, and how many these are.

    Boxes are matched as sets, since equal scores may come in any order. A box of one side that has no partner counts as
    an error of 1, unless rounding alone can have decided about it: its score is just about the threshold or the last
    that had a place, or it overlaps a box of its class by just about the threshold.

    Args:
        expected: `dets` (B, K, 5) and `labels` (B, K).
        given: The same from the file.
        tolerance: Relative error within which boxes belong together.
        thresholds: Of the detector.
    """
    if any(expected[name].shape != given[name].shape for name in ('dets', 'labels')):
        return float('inf'), 0
    error, count = 0.0, 0
    for first, second, cost in _pictures(expected, given, 'dets', 'labels'):
        for boxes, others, distances in ((first, second, _nearest(cost, 1)), (second, first, _nearest(cost, 0))):
            alone = distances > tolerance
            full = expected['dets'].shape[1] == len(boxes)
            excused = _on_the_border(boxes, others, full, thresholds)
            error = _larger(error, distances[~(alone & excused)])
            count += int((~alone).sum())
    return error, count // 2


def compare_masks(
    expected: dict[str, np.ndarray],
    given: dict[str, np.ndarray],
    tolerance: float,
    thresholds: Thresholds | None = None,
) -> tuple[float, int]:
    """Largest difference of the masks of boxes that belong together, and how many these are.

    Args:
        expected: `dets` (B, K, 5), `labels` (B, K) and `masks` (B, K, h, w).
        given: The same from the file.
        tolerance: Relative error within which boxes belong together.
        thresholds: Play no part.
    """
    if expected['masks'].shape != given['masks'].shape:
        return float('inf'), 0
    error, count = 0.0, 0
    masks = zip(
        *((m[labels >= 0] for m, labels in zip(run['masks'], run['labels'], strict=True)) for run in (expected, given)),
        strict=True,
    )
    for (first, second), (_, _, cost) in zip(masks, _pictures(expected, given, 'dets', 'labels'), strict=True):
        together = np.flatnonzero(_nearest(cost, 1) <= tolerance)
        if len(together):
            partners = cost[together].argmin(1)
            error = _larger(error, np.abs(first[together].astype(float) - second[partners]))
            count += len(together)
    return error, count


def compare_proposals(
    expected: dict[str, np.ndarray],
    given: dict[str, np.ndarray],
    tolerance: float,
    thresholds: Thresholds | None = None,
) -> tuple[float, int]:
    """Largest relative error of proposals that belong together, and how many these are.

    There are so many that rounding will decide about some: which of two that overlap by just the threshold goes, and
    which of equal ones has the last place. Up to two of a picture, or `PROPOSALS` of them, may have no partner; more
    count as an error of 1.

    Args:
        expected: `proposals` (B, P, 5) and `levels` (B, P).
        given: The same from the file.
        tolerance: Relative error within which they belong together.
        thresholds: Play no part.
    """
    if any(expected[name].shape != given[name].shape for name in ('proposals', 'levels')):
        return float('inf'), 0
    error, count = 0.0, 0
    for first, second, cost in _pictures(expected, given, 'proposals', 'levels'):
        for boxes, distances in ((first, _nearest(cost, 1)), (second, _nearest(cost, 0))):
            alone = distances > tolerance
            if alone.sum() > max(2, PROPOSALS * len(boxes)):
                return 1.0, count // 2
            error = _larger(error, distances[~alone])
            count += int((~alone).sum())
    return error, count // 2


# Outputs that are compared as sets, None for those that belong to another one.
SETS: dict[str, Any] = {
    'dets': compare_detections,
    'labels': None,
    'masks': compare_masks,
    'proposals': compare_proposals,
    'levels': None,
}


def _larger(error: float, values: np.ndarray) -> float:
    """The largest; a NaN stays one."""
    return float(np.maximum(error, values.max(initial=0)))


def _pictures(
    expected: dict[str, np.ndarray], given: dict[str, np.ndarray], boxes: str, labels: str
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Filled boxes (n, 6) and (m, 6) of each picture, and how much they differ (n, m)."""
    scale = max(1.0, float(np.abs(expected[boxes][..., :4]).max(initial=0)))
    for pair in zip(expected[boxes], expected[labels], given[boxes], given[labels], strict=True):
        first, second = _filled(*pair[:2]), _filled(*pair[2:])
        yield first, second, _difference(first, second, scale)


def _nearest(cost: np.ndarray, axis: int) -> np.ndarray:
    """Difference to the nearest of the others, 1 if there are none."""
    return cost.min(axis).astype(float) if cost.size else np.full(cost.shape[1 - axis], 1.0)


def _filled(dets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Boxes that are there, (n, 6): corners, score, label."""
    return np.concatenate([dets, labels[:, None]], 1)[labels >= 0].astype(np.float64)


def _difference(first: np.ndarray, second: np.ndarray, scale: float) -> np.ndarray:
    """Largest difference (n, m) of each pair, corners relative to `scale`; at least 1 for different labels."""
    units = np.array([scale] * 4 + [1.0])
    gap = np.abs(first[:, None, :5] - second[None, :, :5]) / units
    return gap.max(-1, initial=0) + (first[:, None, 5] != second[None, :, 5])


def _on_the_border(boxes: np.ndarray, others: np.ndarray, full: bool, thresholds: Thresholds) -> np.ndarray:
    """Whether rounding alone can have decided that a box is there, (n,)."""
    everything = np.concatenate([boxes, others])
    overlap = _overlap(boxes, everything)
    overlap[boxes[:, None, 5] != everything[None, :, 5]] = 0
    border = (np.abs(overlap - thresholds.iou) <= BORDER).any(1) | (boxes[:, 4] <= thresholds.score + BORDER)
    if full and len(boxes):
        border |= boxes[:, 4] <= boxes[:, 4].min() + BORDER  # the next best had no place
    return border


def _overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (n, m)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:4], second[None, :, 2:4])
    shared = (high - low).clip(min=0).prod(-1)
    areas = [(boxes[:, 2:4] - boxes[:, :2]).prod(-1) for boxes in (first, second)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)
