"""Run a detector, segmentor or classifier on a picture, a folder of pictures or a video.

    python tools/predict.py CONFIG CHECKPOINT PICTURE_FOLDER_OR_VIDEO --out outputs/predict

Writes every picture, or a video of every frame, with its findings drawn in, and one `predictions.json`:
boxes as [left, top, right, bottom] in pixels, masks as COCO run lengths; for semantic segmentation the share of each
class and the name of a picture of class numbers; for a picture of a folder that fails, the reason.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

try:
    from tools import drawing, mm_config, video
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import drawing  # type: ignore[no-redef]
    import mm_config  # type: ignore[no-redef]
    import video  # type: ignore[no-redef]

_THRESHOLD = 0.3
_RECORDS = 'predictions.json'
SUFFIXES = {'.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp'}


def _parser() -> 'mm_config.Parser':
    parser = mm_config.Parser('predict.py', 'Run a model on a picture, a folder of pictures or a video.')
    parser.add_argument('checkpoint', help='.pth of a training, or .safetensors')
    parser.add_argument(
        'input', help='picture, folder of pictures, or video (' + ', '.join(sorted(video.SUFFIXES)) + ')'
    )
    parser.add_argument(
        '--out', default='outputs/predict', help='folder for what is written (default: outputs/predict)'
    )
    add_threshold(parser.add_argument)
    parser.add_argument('--device', default=None, help='cpu, cuda, cuda:1 ... (default: a GPU if there is one)')
    return parser


def main(args: list[str] | None = None) -> int:
    """Run the tool.

    Args:
        args: Command line without the program's name, `sys.argv` by default.

    Returns:
        Exit code: 0; 1 if pictures failed and the others are predicted without them; 2 after a user's mistake.
    """
    options = _parser().parse_args(args)
    failed: list[Path] = []
    return mm_config.run('predict.py', lambda: failed.extend(_predict(options))) or int(bool(failed))


def _predict(options) -> list[Path]:
    """All of it; the pictures that failed."""
    check_threshold(options.score_threshold)
    device(options.device)
    source, out = Path(options.input), Path(options.out)
    film = source.is_file() and source.suffix.lower() in video.SUFFIXES
    if film:
        video.check(source)
    pictures = [] if film else find_pictures(source)
    targets = [out / f'{source.stem}.mp4'] if film else [out / path.name for path in pictures]
    if any(path.resolve() == target.resolve() for path, target in zip(pictures or [source], targets, strict=True)):
        raise ValueError(f'--out must be another folder than that of {source}, which would be written over')
    foreign = [] if (out / _RECORDS).exists() else [target for target in targets if target.exists()]
    if foreign:
        raise ValueError(
            f'--out must hold no files of others, but {foreign[0]} is there without a {_RECORDS}: give another folder, '
            'or remove what an earlier run left there'
        )
    model = Predictor(options.config, options.cfg_options, options.checkpoint, options.device, options.score_threshold)
    out.mkdir(parents=True, exist_ok=True)
    failed: dict[Path, str] = {}
    with _records(out / _RECORDS, model.classes) as put:
        if film:
            said = f'{targets[0].name} of {_film(model, source, targets[0], put)} frames'
        else:
            failed = _stills(model, pictures, out, put)
            if len(failed) == len(pictures):
                path, reason = next(iter(failed.items()))
                raise ValueError(f'none of {len(failed)} pictures could be predicted; the first is {path}: {reason}')
            said = (
                f'{len(pictures) - len(failed)} of {len(pictures)} pictures' if failed else f'{len(pictures)} pictures'
            )
    print(f'{said} and {_RECORDS} are in {out}')
    for path, reason in failed.items():
        print(f'predict.py: {path} is left out: {reason}', file=sys.stderr)
    return list(failed)


def _stills(model: 'Predictor', pictures: list[Path], out: Path, put: Callable[[dict], None]) -> dict[Path, str]:
    """The pictures that failed, and why."""
    from rich.progress import track

    failed: dict[Path, str] = {}
    for path in track(pictures, description='Predicting', disable=not sys.stderr.isatty()):
        try:
            sample = model.sample(path)
            model.draw(path, sample, out / path.name)
            found = _record(sample, model.classes, model.threshold, path.name, out)
        except Exception as error:  # decoders and transforms raise whatever they like
            found = {'error': f'{type(error).__name__}: {" ".join(str(error).split())}'}
            failed[path] = found['error']
        put(dict(file=path.name, **found))
    return failed


def _film(model: 'Predictor', source: Path, target: Path, put: Callable[[dict], None]) -> int:
    def each(number: int, second: float, frame: Path, drawn: Path) -> None:
        sample = model.sample(frame)
        model.draw(frame, sample, drawn, enlarge=False)
        found = _record(sample, model.classes, model.threshold, f'{source.stem}_{number:06d}', target.parent)
        put(dict(file=source.name, frame=number, second=round(second, 3), **found))

    count, promised = video.redraw(source, target, each), video.promised(source)
    if count < promised:
        print(f'predict.py: of the {promised} frames that {source} promises, {count} could be decoded', file=sys.stderr)
    return count


@contextlib.contextmanager
def _records(path: Path, classes: list[str]) -> Iterator[Callable[[dict], None]]:
    """Function that puts a record into the file, one a line; the file gets its name when all are in."""
    beside, between = path.with_name(f'{path.name}.part'), ''
    try:
        with beside.open('w', encoding='utf-8') as file:

            def put(record: dict) -> None:
                nonlocal between
                file.write(f'{between}\n  {json.dumps(record)}')
                between = ','

            file.write(f'{{"classes": {json.dumps(classes)},\n "pictures": [')
            yield put
            file.write('\n ]}\n')
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


class Predictor:
    """A trained model, with its config's way to prepare a picture and to draw what is found.

    Args:
        path: Config.
        options: What `--cfg-options` gave.
        checkpoint: Weights.
        name: Device, a GPU if there is one by default.
        threshold: Boxes with a lower score are not drawn, 0.3 by default.
        truth: Whether what a sample says of the truth is drawn beside what was found.

    Raises:
        ValueError: There is no such config or checkpoint, or it is no detector and has no boxes for the threshold.
    """

    def __init__(
        self,
        path: str,
        options: dict[str, Any],
        checkpoint: str,
        name: str | None = None,
        threshold: float | None = None,
        truth: bool = False,
    ) -> None:
        from mmengine.dataset import Compose

        from backbones.mm import build_model

        if not Path(checkpoint).is_file():
            raise ValueError(f'there is no checkpoint {checkpoint}')
        self.config = mm_config.load_config(path, options)
        dataset = (self.config.get('test_dataloader') or {}).get('dataset')
        if dataset is None:
            raise ValueError(f'{path} sets no test_dataloader, whose pipeline prepares the pictures')
        count = self.config.model.get('num_classes') or (self.config.model.get('head') or {}).get('num_classes') or 0
        names = mm_config.class_names(self.config, dataset)  # a folder of folders has none before it is read
        self.classes = names or [f'class {i}' for i in range(count)]
        self.threshold = _THRESHOLD if threshold is None else threshold
        self.model: Any = build_model(self.config, checkpoint).to(device(name))
        if threshold is not None and 'BaseDetector' not in [kind.__name__ for kind in type(self.model).__mro__]:
            raise ValueError(f'--score-threshold leaves out boxes, and {path} makes no detector: leave it out')
        self.draw = drawing.drawer(self.config, dataset, self.classes, self.threshold, truth)
        self._pipeline = Compose([step for step in dataset.pipeline if 'LoadAnnotations' not in step['type']])

    def sample(self, path: Path) -> Any:
        """What the model finds in a picture."""
        return self.find(self.prepared(path))

    def prepared(self, path: Path) -> Any:
        """A picture as the config's pipeline prepares it."""
        return self._pipeline({'img_path': str(path), 'img_id': 0})

    def find(self, data: Any) -> Any:
        """What it finds in a picture that the pipeline has prepared."""
        import torch

        with torch.no_grad():
            samples = self.model.test_step({'inputs': [data['inputs']], 'data_samples': [data['data_samples']]})
        return samples[0].cpu()


def find_pictures(source: Path) -> list[Path]:
    """The picture, which can be decoded, or those of the folder, of which that is seen one by one."""
    if source.is_dir():
        pictures = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES)
        if not pictures:
            raise ValueError(f'{source} holds no picture ({", ".join(sorted(SUFFIXES))})')
        return pictures
    if not source.is_file():
        raise ValueError(f'there is no picture, folder or video {source}')
    import mmcv

    try:
        whole = mmcv.imread(str(source)) is not None
    except Exception:  # decoders raise whatever they like
        whole = False
    if not whole:
        raise ValueError(f'{source} is no picture that OpenCV can read, or not a whole one')
    return [source]


def add_threshold(add: Callable[..., Any]) -> None:
    add('--score-threshold', type=float, help=f'leave out boxes with a score below it (default: {_THRESHOLD})')


def check_threshold(threshold: float | None) -> None:
    """Refuse what is no score."""
    if threshold is not None and not 0 <= threshold < 1:
        raise ValueError(f'--score-threshold must lie in [0, 1), got {threshold}')


def device(name: str | None) -> Any:
    """The device of that name, a GPU if there is one by default."""
    import torch

    if name is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        found = torch.device(name)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f'--device {name} cannot be used here: {str(error).splitlines()[0]}') from error
    return found


def _record(sample: Any, classes: list[str], threshold: float, name: str, out: Path) -> dict[str, Any]:
    if 'pred_instances' in sample:
        return _instances(sample, classes, threshold)
    if 'pred_sem_seg' in sample:
        return _segmentation(sample, classes, name, out)
    scores, order = sample.pred_score.sort(descending=True)
    top = [
        {'label': classes[i], 'score': round(s, 4)}
        for s, i in zip(scores.tolist()[:5], order.tolist()[:5], strict=True)
    ]
    return {'classes': top}


def _instances(sample: Any, classes: list[str], threshold: float) -> dict[str, Any]:
    found = sample.pred_instances
    found = found[found.scores > threshold]
    records = [
        {'label': classes[label], 'score': round(score, 4), 'box': [round(side, 1) for side in box]}
        for label, score, box in zip(found.labels.tolist(), found.scores.tolist(), found.bboxes.tolist(), strict=True)
    ]
    if 'masks' in found:
        import numpy as np
        from pycocotools import mask as coco_mask

        for record, mask in zip(records, found.masks.numpy(), strict=True):
            code: Any = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            record['mask'] = {'size': code['size'], 'counts': code['counts'].decode()}
    height, width = sample.ori_shape
    return {'width': width, 'height': height, 'instances': records}


def _segmentation(sample: Any, classes: list[str], name: str, out: Path) -> dict[str, Any]:
    import mmcv
    import torch

    labels = sample.pred_sem_seg.data[0]
    shares = torch.bincount(labels.flatten(), minlength=len(classes)) / labels.numel()
    file = f'classes/{name}.png'
    mmcv.imwrite(labels.numpy().astype('uint8'), str(out / file))
    height, width = labels.shape
    shares = {label: round(share, 4) for label, share in zip(classes, shares.tolist(), strict=True)}
    return {'width': width, 'height': height, 'shares': shares, 'class_map': file}


if __name__ == '__main__':
    sys.exit(main())
