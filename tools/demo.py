"""The main job on bundled data: find blood cells, with PyTorch and with the exported ONNX file, and compare the two.

    python tools/demo.py

Prints COCO AP, AP50 and AP per class on the test split and the latency of both ways. Leaves in `outputs/demo/` the
annotated photographs, the ONNX file and `index.html`, one page that holds everything it shows.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

if __package__:
    from tools import demo_page, export, files, mm_config, models, score
else:  # run as a script: this folder is on the path
    import demo_page  # type: ignore[no-redef]
    import export
    import files
    import mm_config
    import models
    import score

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/detection/retinanet_lsnet_t_fpn_bccd.py'
CHECKPOINT = ROOT / 'checkpoints/retinanet_lsnet_t_fpn_bccd.safetensors'
TITLE = 'RetinaNet on LSNet-T'
TORCH, ONNX = 'PyTorch', 'ONNX Runtime'
TOLERANCE = 0.1  # points of AP that the two ways may differ by
BLOCK = 6  # pictures that one way takes before the other has its turn
WARMUP = 3


class Finder:
    """One way to find cells: `prepare` reads and resizes a picture, `find` gives boxes in the pixels of the file.

    Args:
        prepare: Path of a picture -> prepared picture and the factors (x, y) that it was resized by.
        find: Prepared picture -> corners x1 y1 x2 y2 in its pixels (N, 4), scores (N,) and labels (N,).
    """

    def __init__(self, prepare: Callable, find: Callable) -> None:
        self.prepare, self.find = prepare, find

    def __call__(self, picture: demo_page.Picture, split: demo_page.Split, results: demo_page.Results | None) -> None:
        """Search one picture; without `results` for warming up only."""
        start = time.perf_counter()
        prepared, (x, y) = self.prepare(picture.path)
        before = time.perf_counter()
        boxes, scores, labels = self.find(prepared)
        after = time.perf_counter()
        boxes = boxes / [x, y, x, y]
        end = time.perf_counter()
        if results is None:
            return
        results.model.append(after - before)
        results.total.append(end - start)
        for (x1, y1, x2, y2), score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True):
            box = {'bbox': [x1, y1, x2 - x1, y2 - y1], 'score': score, 'label': label}
            results.boxes.append({'image_id': picture.id, 'category_id': split.categories[label], **box})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='demo.py', description='Find blood cells in the bundled test photographs, with PyTorch and ONNX Runtime.'
    )
    parser.add_argument('--images', type=int, metavar='N', help='take the first N photographs only (default: all)')
    parser.add_argument(
        '--output', type=Path, default=Path('outputs/demo'), metavar='DIR', help='default: outputs/demo'
    )
    parser.add_argument('--device', default='cpu', help='cpu, cuda or cuda:N; ONNX Runtime follows if its build can')
    parser.add_argument('--config', type=Path, default=CONFIG, help='config of the detector (default: the bundled one)')
    parser.add_argument('--checkpoint', type=Path, default=CHECKPOINT, help='its weights (default: the bundled ones)')
    return parser


def main(args: list[str] | None = None) -> int:
    """Run the demo.

    Args:
        args: Command line without the program's name, `sys.argv` by default.

    Returns:
        Exit code: 0; 1 when PyTorch and the ONNX file disagree; 2 after a user's mistake.
    """
    options = _parser().parse_args(args)
    try:
        return _demo(options)
    except (ValueError, ImportError, OSError) as error:
        print(f'demo.py: {error}', file=sys.stderr)
        return 2


def _demo(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import track

    console = Console(file=sys.stdout, highlight=False)  # this one, also while others are kept quiet
    start = time.perf_counter()
    for path, what in ((options.config, 'config'), (options.checkpoint, 'checkpoint')):
        if not path.is_file():
            raise ValueError(
                f'there is no {what} {path}: the bundled one comes with the source tree, or give --{what}.'
            )
    if options.images is not None and options.images < 1:
        raise ValueError(f'--images must be at least 1, but is {options.images}.')
    options.output.mkdir(parents=True, exist_ok=True)
    onnx = options.output / f'{options.config.stem}.onnx'
    with console.status('Loading OpenMMLab and the detector'), score.quiet():
        config, model = _load(options)
        split = _split(config, options.images)
    with console.status('Exporting to ONNX and comparing the file with the model'), score.quiet():
        report = _export(model, onnx, config, split.classes, options.checkpoint)
        finders = {TORCH: _torch_finder(model, config), ONNX: _onnx_finder(onnx, model, config)}
    console.print(f'Exported {report.nodes} operators, {report.size / 1e6:.1f} MB, and compared them with the model.')
    results = _search(finders, split, console)
    scores = {name: _score(split, found.boxes) for name, found in results.items()}
    boxes = results[ONNX].boxes
    pictures = track(split.pictures, 'Drawing     ', console=console)
    demo_page.draw(options.output / 'photographs', split, boxes, pictures)
    html = demo_page.page(TITLE, split, scores, results, _facts(options, report))
    files.write(options.output / 'index.html', html)
    _print(console, split, scores, results)
    console.print(f'Look at {options.output / "index.html"}; beside it lie the photographs and {onnx.name}.')
    console.print(f'Done in {time.perf_counter() - start:.0f} s.')
    return _agree(scores, console)


def _agree(scores: dict[str, list[float]], console: Any) -> int:
    """0 when both ways have the same AP, 1 with a sentence when they do not."""
    gap = abs(scores[TORCH][0] - scores[ONNX][0])
    if gap <= TOLERANCE:
        console.print(f'AP of {TORCH} and {ONNX} differ by {gap:.3f} points, at most {TOLERANCE} are allowed.')
        return 0
    print(
        f'demo.py: AP is {scores[TORCH][0]:.2f} with {TORCH} but {scores[ONNX][0]:.2f} with {ONNX}: they differ by '
        f'{gap:.2f} points, more than {TOLERANCE}; the exported file does not compute what the model computes.',
        file=sys.stderr,
    )
    return 1


# Loading


def _load(options: argparse.Namespace) -> tuple[Any, Any]:
    """Config and detector, in eval mode on its device."""
    import torch

    from backbones.mm import build_model

    try:
        device = torch.device(options.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f'--device {options.device} cannot be used here: {str(error).splitlines()[0]}') from error
    config = mm_config.load_config(options.config, {})
    kind = config.test_dataloader.dataset.type
    if not str(kind).endswith('CocoDataset'):
        raise ValueError(f'--config must be of a detector with a CocoDataset to test on, but has a {kind}')
    return config, build_model(config, options.checkpoint).to(device)


def _split(config: Any, count: int | None) -> demo_page.Split:
    """The test split as the config names it, or its first `count` pictures."""
    dataset = config.test_dataloader.dataset
    folder = ROOT / dataset.data_root
    coco = json.loads((folder / dataset.ann_file).read_text(encoding='utf-8'))
    classes = tuple(dataset.metainfo.classes)
    by_name = {category['name']: category['id'] for category in coco['categories']}
    categories = tuple(by_name[name] for name in classes)
    pictures = []
    for image in sorted(coco['images'], key=lambda entry: entry['id'])[:count]:
        own = [entry for entry in coco['annotations'] if entry['image_id'] == image['id']]
        labels = [categories.index(entry['category_id']) for entry in own]
        path = folder / dataset.data_prefix.img / image['file_name']
        pictures.append(demo_page.Picture(image['id'], path, [entry['bbox'] for entry in own], labels))
    palette = tuple(tuple(colour) for colour in dataset.metainfo.palette)
    return demo_page.Split(folder / dataset.ann_file, classes, palette, categories, tuple(pictures))


def _preparation(config: Any) -> Callable[[Path], tuple[dict[str, Any], tuple[float, float]]]:
    """Read and resize as the config says."""
    from mmengine.dataset import Compose

    steps = [step for step in config.test_dataloader.dataset.pipeline if 'LoadAnnotations' not in step['type']]
    pipeline = Compose(steps)

    def prepare(path: Path) -> tuple[dict[str, Any], tuple[float, float]]:
        data = pipeline({'img_path': str(path), 'img_id': 0})
        return data, data['data_samples'].scale_factor

    return prepare


def _torch_finder(model: Any, config: Any) -> Finder:
    """mmdet's own way from picture to boxes."""
    import torch

    @torch.inference_mode()
    def find(data: dict[str, Any]) -> tuple[Any, Any, Any]:
        batch = model.data_preprocessor({'inputs': [data['inputs']], 'data_samples': [data['data_samples']]}, False)
        (sample,) = model.predict(batch['inputs'], batch['data_samples'], rescale=False)
        found = sample.pred_instances
        return found.bboxes.cpu().numpy(), found.scores.cpu().numpy(), found.labels.cpu().numpy()

    return Finder(_preparation(config), find)


def _onnx_finder(path: Path, model: Any, config: Any) -> Finder:
    """The exported file, which normalises and suppresses by itself."""
    import numpy as np
    import onnxruntime
    import torch

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    wanted = ['CUDAExecutionProvider'] if next(model.parameters()).is_cuda else []
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    session = onnxruntime.InferenceSession(os.fspath(path), settings, providers=[*providers, 'CPUExecutionProvider'])

    def find(data: dict[str, Any]) -> tuple[Any, Any, Any]:
        image = data['inputs'].numpy()[None, ::-1].astype(np.float32)  # blue green red -> red green blue
        (dets,), (labels,) = session.run(['dets', 'labels'], {'input': image})
        filled = labels >= 0
        return dets[filled, :4], dets[filled, 4], labels[filled]

    return Finder(_preparation(config), find)


def _export(model: Any, path: Path, config: Any, classes: tuple[str, ...], checkpoint: Path) -> Any:
    from backbones.deploy import export_onnx

    device = next(model.parameters()).device
    facts = {**export.config_facts(config, model), 'classes': classes, 'metadata': models.origin(str(checkpoint))}
    try:
        return export_onnx(model, path, normalize=True, **facts)
    finally:
        model.to(device)


# Searching and scoring


def _search(finders: dict[str, Finder], split: demo_page.Split, console: Any) -> dict[str, demo_page.Results]:
    """Both ways over all pictures, in turns, so that whatever else the machine does meets them alike."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    results = {name: demo_page.Results() for name in finders}
    columns = (TextColumn('{task.description:<12}'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        tasks = {name: progress.add_task(name, total=len(split.pictures)) for name in finders}
        for first in range(0, len(split.pictures), BLOCK):
            for name, find in finders.items():
                for picture in split.pictures[: WARMUP if first == 0 else 1]:
                    find(picture, split, None)  # untimed: fills caches, and the threads of the other way go to sleep
                for picture in split.pictures[first : first + BLOCK]:
                    find(picture, split, results[name])
                    progress.advance(tasks[name])
    return results


def _score(split: demo_page.Split, boxes: list[dict[str, Any]]) -> list[float]:
    """AP, AP50 and the AP of each class, in percent, by pycocotools."""
    import numpy as np
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not boxes:
        return [0.0] * (2 + len(split.classes))
    with score.quiet():
        coco = COCO(split.annotations)
        evaluation = COCOeval(coco, coco.loadRes(boxes), 'bbox')
        evaluation.params.imgIds = [picture.id for picture in split.pictures]
        evaluation.params.catIds = list(split.categories)
        evaluation.evaluate()
        evaluation.accumulate()
    # overlaps, recalls, classes, areas (0: all), numbers of boxes (-1: 100); -1 where a class has no box
    precision = evaluation.eval['precision'][:, :, :, 0, -1]
    precision = np.where(precision < 0, np.nan, precision)
    parts = (precision, precision[0], *np.moveaxis(precision, 2, 0))
    return [100 * float(np.nanmean(part)) if np.isfinite(part).any() else 0.0 for part in parts]


# Reporting


def _print(
    console: Any, split: demo_page.Split, scores: dict[str, list[float]], results: dict[str, demo_page.Results]
) -> None:
    from rich.table import Table

    title = f'Average precision in percent, {len(split.pictures)} photographs'
    precision = Table('Run with', title=title, title_justify='left')
    for heading in ('AP', 'AP50', *(f'AP {name}' for name in split.classes)):
        precision.add_column(heading, justify='right')
    latency = Table('Run with', title='Milliseconds for one photograph, median', title_justify='left')
    for heading in ('Model only', 'End to end'):
        latency.add_column(heading, justify='right')
    for name, values in scores.items():
        precision.add_row(name, *(f'{value:.2f}' for value in values))
        latency.add_row(
            name, *(f'{statistics.median(t) * 1e3:.1f}' for t in (results[name].model, results[name].total))
        )
    console.print(precision, latency)


def _facts(options: argparse.Namespace, report: Any) -> dict[str, Any]:
    """What the page says about how it was made."""
    import torch

    from backbones.measure import machine, versions

    packages = ('torch', 'timm', 'onnxruntime', 'onnx', 'onedl-mmdetection', 'mmdet')
    threads = torch.get_num_threads()
    return {
        'tolerance': TOLERANCE,
        'threads': f'{threads} thread{"s" * (threads > 1)}',
        'Date': date.today().isoformat(),
        'Machine': machine() + ('' if options.device == 'cpu' else f'; PyTorch on {options.device}'),
        'Versions': ', '.join(f'{name} {version}' for name, version in versions(packages).items()),
        'Config': options.config.name,
        'Weights': f'{options.checkpoint.name}, {options.checkpoint.stat().st_size / 1e6:.1f} MB',
        'ONNX file': f'{report.path.name}, {report.size / 1e6:.1f} MB, {report.nodes} operators, opset {report.opset}',
        'Photographs': 'BCCD data set, MIT licence',
    }


if __name__ == '__main__':
    sys.exit(main())
