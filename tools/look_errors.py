"""Where a trained model errs, for `look.py errors`: a confusion matrix, the worst pictures, and a page of both."""

import argparse
import csv
import io
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from tools import data_checks, files, look_maps, look_page, plots, predict, score
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import data_checks  # type: ignore[no-redef]
    import files  # type: ignore[no-redef]
    import look_maps  # type: ignore[no-redef]
    import look_page  # type: ignore[no-redef]
    import plots  # type: ignore[no-redef]
    import predict  # type: ignore[no-redef]
    import score  # type: ignore[no-redef]

if TYPE_CHECKING:
    import torch
    from torch import Tensor

OVERLAP = 0.5  # intersection over union from which a box is that of an object
NOTHING = 'nothing'  # truth of a false alarm, and what a missed object was found to be
_NUMBERED = 24  # classes of a matrix that still has room for numbers


@dataclass(frozen=True)
class Verdict:
    """One picture: true classes by found classes, how bad it is, and that in words."""

    matrix: 'Tensor'
    badness: float
    words: str


@dataclass(frozen=True)
class Kind:
    """A task: how a picture is judged, and words for the page."""

    judge: Callable[[Any, Any, Sequence[str], float], Verdict]  # sample, what the data set says, classes, threshold
    unit: str
    order: str
    rule: str = ''


def draw(options: argparse.Namespace) -> str:
    """Go through the test split, then draw the matrix and the worst pictures, and write the page.

    Args:
        options: Of `look.py errors`.

    Returns:
        What was written where.
    """
    from rich.progress import track

    predict.check_threshold(options.score_threshold)
    for name in ('images', 'worst'):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise ValueError(f'--{name} must be at least 1, got {getattr(options, name)}')
    model = predict.Predictor(
        options.config, options.cfg_options, options.checkpoint, options.device, options.score_threshold, truth=True
    )
    dataset, chosen = _pictures(model.config, options.images)
    kind, verdicts = None, {}
    total: Any = 0
    for index in track(chosen, description='Judging', disable=not sys.stderr.isatty()):
        sample, info = model.find(dataset[index]), dataset.get_data_info(index)
        kind = kind or _kind(sample)
        verdict = kind.judge(sample, info, model.classes, model.threshold)
        total = total + verdict.matrix
        verdicts[index] = verdict.badness, verdict.words
    assert kind is not None
    bad = sorted((i for i in verdicts if verdicts[i][0] > 0), key=lambda i: -verdicts[i][0])[: options.worst]
    out = Path(options.out)
    (out / 'worst').mkdir(parents=True, exist_ok=True)
    names = [*model.classes, NOTHING][: len(total)]
    title = f'{Path(options.config).stem}, {look_maps.weights(options.checkpoint)}'
    draw_matrix(out / 'confusion.png', total, names, title, shares=kind.unit == 'pixels')
    files.write(out / 'confusion.csv', _csv(total, names))
    worst = [(_worst(model, dataset, i, rank, out / 'worst'), verdicts[i][1]) for rank, i in enumerate(bad, 1)]
    files.write(
        out / 'index.html', _page(options, kind, model.threshold, len(chosen), total, out / 'confusion.png', worst)
    )
    earlier = {path for path in (out / 'worst').glob('*.png') if re.match(r'\d\d+_', path.name)}
    for path in earlier - {path for (_, path), _ in worst}:
        path.unlink()  # which the page no longer shows
    return f'index.html, confusion.png, confusion.csv and {len(worst)} pictures (worst/) are in {out}'


def _pictures(config: Any, images: int | None) -> tuple[Any, list[int]]:
    """The test split, and the numbers of the pictures to take."""
    from mmengine.registry import DATASETS

    reason = score.missing(config)
    if reason:
        raise ValueError(f'errors are looked for on the test split, but {reason}')
    data_checks.check_folders(config, 'test_dataloader')
    data_checks.check_annotations(config, 'test_dataloader')
    with score.quiet():
        data_checks.check_pictures(config, 'refuse', ['test_dataloader'], images)
        dataset = DATASETS.build(config.test_dataloader['dataset'])
    count = min(images or len(dataset), len(dataset))
    if not count:
        raise ValueError('the test split must hold a picture, but is empty')
    if 'img_path' not in dataset.get_data_info(0):
        raise ValueError(f'the pictures of the test split must be files, but those of {type(dataset).__name__} are not')
    return dataset, [i * len(dataset) // count for i in range(count)]


def _kind(sample: Any) -> Kind:
    if 'pred_instances' in sample:
        rule = (
            f'An object counts as found if a box overlaps it by at least {OVERLAP} (intersection over union); each '
            f'box and each object counts once. The row "{NOTHING}" holds false alarms, the column "{NOTHING}" missed '
            'objects.'
        )
        return Kind(judge_boxes, 'objects', 'most missed, wrong and invented objects first', rule)
    if 'pred_sem_seg' in sample:
        return Kind(judge_pixels, 'pixels', 'lowest mean IoU first', 'Shares of the pixels of each true class.')
    if 'gt_label' in sample and sample.gt_label.numel() == 1:
        return Kind(judge_class, 'pictures', 'highest loss first')
    raise ValueError('the pictures must have boxes, a class map or one class each, but these have none of them')


def confusion(truth: 'Tensor', found: 'Tensor', count: int) -> 'Tensor':
    """How often each true class (row) was found to be each class (column), (count, count).

    What has no true class (below 0 or from `count` on) is left out.
    """
    import torch

    known = (truth >= 0) & (truth < count)
    return torch.bincount(truth[known].long() * count + found[known].long(), minlength=count**2).view(count, count)


def judge_class(sample: Any, info: Any, classes: Sequence[str], threshold: float) -> Verdict:
    """A classified picture; its loss is the cross-entropy."""
    label, found = sample.gt_label.flatten(), sample.pred_score.argmax().view(1)
    loss = -float(sample.pred_score[label].clamp_min(1e-12).log())
    words = f'loss {loss:.2f}: {classes[int(found)]} in place of {classes[int(label)]}'
    if int(found) == int(label):
        words = f'loss {loss:.2f}: {classes[int(label)]}, as it should be'
    return Verdict(confusion(label, found, len(classes)), loss, words)


def judge_pixels(sample: Any, info: Any, classes: Sequence[str], threshold: float) -> Verdict:
    """A segmented picture; mean over the classes that are in it or were found in it."""
    matrix = confusion(sample.gt_sem_seg.data.flatten(), sample.pred_sem_seg.data.flatten(), len(classes))
    union = matrix.sum(0) + matrix.sum(1) - matrix.diag()
    iou = (matrix.diag()[union > 0] / union[union > 0]).mean() if union.any() else 1.0
    return Verdict(matrix, 1 - float(iou), f'mean IoU {float(iou):.1%}')


def judge_boxes(sample: Any, info: Any, classes: Sequence[str], threshold: float) -> Verdict:
    """A picture with boxes; the truth is in its own pixels, as what was found."""
    import torch

    found = sample.pred_instances[sample.pred_instances.scores > threshold]
    boxes = torch.tensor([one['bbox'] for one in info['instances']]).view(-1, 4)
    labels = torch.tensor([one['bbox_label'] for one in info['instances']], dtype=torch.long)
    ignored = torch.tensor([bool(one.get('ignore_flag', 0)) for one in info['instances']], dtype=torch.bool)
    matrix = match((boxes, labels, ignored), (found.bboxes, found.labels), len(classes))
    missed, invented = int(matrix[:-1, -1].sum()), int(matrix[-1].sum())
    wrong = int(matrix[:-1, :-1].sum() - matrix.diag()[:-1].sum())
    words = f'{missed} missed, {wrong} of a wrong class, {invented} invented'
    return Verdict(matrix, missed + wrong + invented, words)


def match(
    truth: 'tuple[Tensor, Tensor, Tensor]', found: 'tuple[Tensor, Tensor]', count: int, overlap: float = OVERLAP
) -> 'Tensor':
    """Confusion matrix of boxes, one to one: pairs of one class first, then any, the largest overlap first.

    Args:
        truth: Boxes (N, 4) as left, top, right, bottom, their classes (N), and which of them are to be ignored (N).
        found: Boxes (M, 4) and classes (M).
        count: Number of classes.
        overlap: Intersection over union from which two boxes may be a pair.

    Returns:
        (count + 1, count + 1): the last row holds false alarms, the last column misses. What was found in the place of
        an ignored box is left out.
    """
    import torch
    from mmdet.structures.bbox import bbox_overlaps

    (boxes, labels, ignored), (others, classes) = truth, found
    crowd, boxes, labels = boxes[ignored], boxes[~ignored], labels[~ignored]
    table = bbox_overlaps(boxes.float(), others.float())  # (N, M)
    rank = table + (labels[:, None] == classes[None])
    pairs = (table >= overlap).nonzero()
    matrix = torch.zeros(count + 1, count + 1, dtype=torch.long)
    left, right = set(range(len(boxes))), set(range(len(others)))
    for i, j in pairs[rank[pairs[:, 0], pairs[:, 1]].argsort(descending=True, stable=True)].tolist():
        if i in left and j in right:
            matrix[labels[i], classes[j]] += 1
            left.remove(i)
            right.remove(j)
    if len(crowd):
        inside = bbox_overlaps(others.float(), crowd.float(), mode='iof').amax(1)  # (M)
        right = {j for j in right if inside[j] < overlap}
    for i in left:
        matrix[labels[i], count] += 1
    for j in right:
        matrix[count, classes[j]] += 1
    return matrix


def draw_matrix(path: Path, matrix: 'torch.Tensor', names: Sequence[str], title: str, shares: bool) -> None:
    """The matrix as a PNG, coloured by the share of each row.

    Args:
        path: The file.
        matrix: Counts, true classes by found classes.
        names: Of the classes.
        title: What is judged.
        shares: Whether the numbers are percent of a row, in place of counts.
    """
    rows = (matrix / matrix.sum(1, keepdim=True).clamp_min(1)).numpy()
    count, numbered = len(names), len(names) <= _NUMBERED
    side = min(3 + 0.55 * count, 14)
    with plots.subplots(str(path), figsize=(side + 1, side)) as axes:
        image = axes.imshow(rows, vmin=0, vmax=1, cmap='Blues')
        axes.figure.colorbar(image, fraction=0.045, label='share of the row')
        axes.set(xlabel='found', ylabel='truth')
        look_maps.headline(axes.figure, title, (side + 1) / 3.2)
        if numbered:
            axes.set_xticks(range(count), names, rotation=45, ha='right', rotation_mode='anchor')
            axes.set_yticks(range(count), names)
            for i in range(count):
                for j in range(count):
                    if names[i] == names[j] == NOTHING:
                        continue  # nothing that was found to be nothing is not counted
                    text = f'{100 * rows[i, j]:.1f}' if shares else str(int(matrix[i, j]))
                    axes.text(j, i, text, ha='center', va='center', color='white' if rows[i, j] > 0.5 else 'black')


def _csv(matrix: 'torch.Tensor', names: Sequence[str]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(['truth', *names])
    writer.writerows([name, *row] for name, row in zip(names, matrix.tolist(), strict=True))
    return file.getvalue()


def _worst(model: Any, dataset: Any, index: int, rank: int, folder: Path) -> tuple[str, Path]:
    """Draw one picture; its name and the file."""
    sample, info = model.find(dataset[index]), dataset.get_data_info(index)
    path = Path(info['img_path'])
    if 'pred_instances' in sample:
        sample.gt_instances = _true_instances(sample, info)
    target = folder / f'{rank:02d}_{path.stem}.png'
    with score.quiet():
        model.draw(path, sample, target)
    return path.name, target


def _true_instances(sample: Any, info: Any) -> Any:
    """As the visualizer takes them, in the picture's own pixels."""
    import torch
    from mmengine.structures import InstanceData

    own = sample.get('gt_instances')
    if own is not None and 'masks' in own and (own.masks.height, own.masks.width) == tuple(sample.ori_shape):
        return own
    true = [one for one in info['instances'] if not one.get('ignore_flag', 0)]
    boxes = torch.tensor([one['bbox'] for one in true]).view(-1, 4)
    return InstanceData(bboxes=boxes, labels=torch.tensor([one['bbox_label'] for one in true], dtype=torch.long))


def _page(
    options: argparse.Namespace,
    kind: Kind,
    threshold: float,
    count: int,
    matrix: 'torch.Tensor',
    drawn: Path,
    worst: Sequence[tuple[tuple[str, Path], str]],
) -> str:
    """The HTML page, which holds all it shows."""
    right = int(matrix.diag().sum())
    errors = dict(
        config=Path(options.config).name,
        checkpoint=Path(options.checkpoint).name,
        count=count,
        unit=kind.unit,
        order=kind.order,
        rule=kind.rule,
        right=right,
        total=int(matrix.sum()),
        share=f'{100 * right / max(1, int(matrix.sum())):.1f}',
        threshold=threshold if kind.unit == 'objects' else None,
        matrix=look_page.shown(drawn),
        worst=[{'name': name, 'words': words, **look_page.shown(path)} for (name, path), words in worst],
    )
    return look_page.render(Path(options.out), errors)
