"""Run a detector, segmentor or classifier on a picture or a folder of pictures.

    python tools/predict.py CONFIG CHECKPOINT PICTURE_OR_FOLDER --out outputs/predict

Writes every picture with its findings drawn in, and one `predictions.json`:
boxes as [left, top, right, bottom] in pixels, masks as COCO run lengths; for semantic segmentation the share of each
class and the name of a picture of class numbers.
"""

import json
import sys
from pathlib import Path
from typing import Any

try:
    from tools import files, mm_config
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import files  # type: ignore[no-redef]
    import mm_config

SUFFIXES = {'.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp'}


def _parser() -> 'mm_config.Parser':
    parser = mm_config.Parser('predict.py', 'Run a model on a picture or on the pictures of a folder.')
    parser.add_argument('checkpoint', help='.pth of a training, or .safetensors')
    parser.add_argument('input', help='picture or folder of pictures')
    parser.add_argument(
        '--out', default='outputs/predict', help='folder for what is written (default: outputs/predict)'
    )
    parser.add_argument('--score-threshold', type=float, default=0.3, help='leave out findings below it (default: 0.3)')
    parser.add_argument('--device', default=None, help='cpu, cuda, cuda:1 ... (default: a GPU if there is one)')
    return parser


def main(args: list[str] | None = None) -> int:
    """Run the tool.

    Args:
        args: Command line without the program's name, `sys.argv` by default.

    Returns:
        Exit code: 0, or 2 after a user's mistake.
    """
    options = _parser().parse_args(args)
    return mm_config.run('predict.py', lambda: _predict(options))


def _predict(options) -> None:
    import torch
    from mmengine.dataset import Compose
    from rich.progress import track

    from backbones.mm import build_model

    if not 0 <= options.score_threshold < 1:
        raise ValueError(f'--score-threshold must lie in [0, 1), got {options.score_threshold}')
    device = _device(options.device)
    pictures = _pictures(Path(options.input))
    if not Path(options.checkpoint).is_file():
        raise ValueError(f'there is no checkpoint {options.checkpoint}')
    config = mm_config.load_config(options.config, options.cfg_options)
    dataset = (config.get('test_dataloader') or {}).get('dataset')
    if dataset is None:
        raise ValueError(f'{options.config} sets no test_dataloader, whose pipeline prepares the pictures')
    classes = mm_config.class_names(config, dataset)
    model = build_model(config, options.checkpoint).to(device)
    pipeline = Compose([step for step in dataset.pipeline if 'LoadAnnotations' not in step['type']])
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    draw = _drawer(config, dataset, classes, options.score_threshold)
    records = []
    for number, path in enumerate(track(pictures, description='Predicting', disable=not sys.stderr.isatty())):
        data = pipeline({'img_path': str(path), 'img_id': number})
        with torch.no_grad():
            sample = model.test_step({'inputs': [data['inputs']], 'data_samples': [data['data_samples']]})[0].cpu()
        draw(path, sample, out / path.name)
        records.append(dict(file=path.name, **_record(sample, classes, options.score_threshold, path, out)))
    files.write(out / 'predictions.json', json.dumps({'classes': classes, 'pictures': records}, indent=1) + '\n')
    print(f'{len(records)} pictures and predictions.json are in {out}')


def _pictures(source: Path) -> list[Path]:
    """The picture, or those of the folder, all of which can be decoded."""
    from PIL import Image, UnidentifiedImageError

    if source.is_dir():
        pictures = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES)
        if not pictures:
            raise ValueError(f'{source} holds no picture ({", ".join(sorted(SUFFIXES))})')
    elif source.is_file():
        pictures = [source]
    else:
        raise ValueError(f'there is no picture or folder {source}')
    path = source
    try:
        for path in pictures:
            with Image.open(path) as image:
                image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f'{path} is no picture that can be read, or not a whole one: {error}') from error
    return pictures


def _device(name: str | None):
    import torch

    if name is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f'--device {name} cannot be used here: {str(error).splitlines()[0]}') from error
    return device


def _drawer(config, dataset, classes: list[str], threshold: float):
    """Function (picture, sample, target) that draws with the visualizer of the config's library."""
    import mmcv
    from mmengine.registry import VISUALIZERS

    settings = dict(config.visualizer, vis_backends=None, name='predict')
    visualizer = VISUALIZERS.build(settings)
    visualizer.dataset_meta = {'classes': classes, 'palette': (dataset.get('metainfo') or {}).get('palette')}

    def draw(path: Path, sample: Any, target: Path) -> None:
        image = mmcv.imread(str(path), channel_order='rgb')
        if hasattr(visualizer, 'visualize_cls'):
            visualizer.visualize_cls(image, sample, classes=classes, draw_gt=False, out_file=str(target))
        elif 'pred_instances' in sample:
            visualizer.add_datasample(
                path.name, image, sample, draw_gt=False, pred_score_thr=threshold, out_file=str(target)
            )
        else:
            visualizer.add_datasample(path.name, image, sample, draw_gt=False, out_file=str(target))

    return draw


def _record(sample: Any, classes: list[str], threshold: float, path: Path, out: Path) -> dict[str, Any]:
    if 'pred_instances' in sample:
        return _instances(sample, classes, threshold)
    if 'pred_sem_seg' in sample:
        return _segmentation(sample, classes, path, out)
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
            code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            record['mask'] = {'size': code['size'], 'counts': code['counts'].decode()}
    height, width = sample.ori_shape
    return {'width': width, 'height': height, 'instances': records}


def _segmentation(sample: Any, classes: list[str], path: Path, out: Path) -> dict[str, Any]:
    import mmcv
    import torch

    labels = sample.pred_sem_seg.data[0]
    shares = torch.bincount(labels.flatten(), minlength=len(classes)) / labels.numel()
    name = f'classes/{path.name}.png'
    mmcv.imwrite(labels.numpy().astype('uint8'), str(out / name))
    height, width = labels.shape
    shares = {label: round(share, 4) for label, share in zip(classes, shares.tolist(), strict=True)}
    return {'width': width, 'height': height, 'shares': shares, 'class_map': name}


if __name__ == '__main__':
    sys.exit(main())
