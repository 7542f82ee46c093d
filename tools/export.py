"""Write a backbone, its feature pyramid, a whole detector or segmentor as an ONNX file that was compared with PyTorch.

    python tools/export.py --model lsnet_t --checkpoint lsnet_t.pth --output lsnet_t.onnx
    python tools/export.py --model lsnet_t --features --output lsnet_t_features.onnx
    python tools/export.py --config configs/detection/retinanet_lsnet_t_fpn_bccd.py --checkpoint CHECKPOINT
    python tools/export.py --config configs/segmentation/fpn_lsnet_t_nuclei.py --checkpoint CHECKPOINT --argmax

The file takes any batch, height and width unless `--dynamic batch` or `--static` is given. It is written only if ONNX
Runtime gives what PyTorch gives and, where the test data of the config lie on disk, scores as PyTorch does. A JSON file
beside it, its card, says what it takes and gives and what was measured.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

    from backbones.deploy.export import Check, ExportReport


try:
    from tools import export_formats as formats
    from tools import files, mm_config, models, pictures, score
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import export_formats as formats  # type: ignore[no-redef]
    import files  # type: ignore[no-redef]
    import mm_config  # type: ignore[no-redef]
    import models  # type: ignore[no-redef]
    import pictures  # type: ignore[no-redef]
    import score  # type: ignore[no-redef]

DYNAMIC = {'all': True, 'batch': 'batch', 'none': False}
FLAGS = {  # what the package tells to give -> the same on the command line, the longest first
    "dynamic='batch' or False": '--dynamic batch or --static',
    "dynamic='batch'": '--dynamic batch',
    'dynamic=False': '--static',
    'fused=False': '--no-fuse',
    'input_size=(3, height, width)': '--img-size HEIGHT WIDTH',
    'other input_size': 'other --img-size',
}
IMAGES = 16  # pictures that are taken if nobody says how many


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='export.py', description='Write a model as an ONNX file and compare the two.')
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--model', '-m', metavar='NAME', help="a name of ours or of timm's own")
    what.add_argument('--config', help='config of a detector, segmentor or classifier, with --checkpoint')
    parser.add_argument('--checkpoint', help='weights, in any layout that the model can be loaded from')
    parser.add_argument('--output', '-o', help='the file to write (default: NAME.onnx, or NAME.xml)')
    size = parser.add_mutually_exclusive_group()
    size.add_argument('--input-size', nargs=3, type=int, metavar=('C', 'H', 'W'), help="default: the model's own")
    size.add_argument('--img-size', nargs='+', type=int, metavar='SIDE', help='side, or height and width, in pixels')
    parser.add_argument('--features', action='store_true', help='export the maps of all stages instead of the classes')
    models.add_kwargs(parser)
    parser.add_argument('--num-classes', type=int, help='classes of --model, if not its own number')
    axes = parser.add_mutually_exclusive_group()
    axes.add_argument(
        '--dynamic',
        choices=DYNAMIC,
        nargs='?',
        default='all',
        const='all',
        help='axes left free: all (the default), batch or none',
    )
    axes.add_argument('--static', action='store_const', dest='dynamic', const='none', help='the same as --dynamic none')
    parser.add_argument('--batch-size', '-b', type=int, default=2, help='batch that is traced (default: 2)')
    parser.add_argument('--opset', type=int, default=18, help='version of the ONNX operators (default: 18)')
    parser.add_argument(
        '--simplify', action='store_true', help='for those who know it from elsewhere: every file is simplified'
    )
    pixels = parser.add_mutually_exclusive_group()
    pixels.add_argument('--logits', action='store_true', help='a segmentor gives logits (the default)')
    pixels.add_argument('--argmax', action='store_true', help='a segmentor gives the class of each pixel')
    parser.add_argument(
        '--nms', action=argparse.BooleanOptionalAction, help='a detector gives boxes (the default), or raw maps'
    )
    parser.add_argument('--no-fuse', action='store_true', help='leave out the re-parameterisation')
    parser.add_argument('--samples', metavar='FOLDER', help='compare on the pictures of this folder too')
    parser.add_argument(
        '--metric',
        action=argparse.BooleanOptionalAction,
        help='measure AP or mIoU of the file on the test pictures of --config, all of them unless --images is given '
        f'(default: on {IMAGES} of them if they lie on disk)',
    )
    parser.add_argument(
        '--images',
        type=int,
        help=f'pictures to take of --samples or for the metric (default: {IMAGES}), or of --calibration (default: '
        f'{formats.PICTURES})',
    )
    parser.add_argument('--device', help='where the metric is measured: cpu (the default), cuda or cuda:N')
    formats.add_arguments(parser)
    parser.add_argument('--normalize', action='store_true', help='put (x - mean) / std into the file')
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
        with files.tidied_when_stopped():
            report, lines = _export(options)
        _print(report, lines)
        if not options.checkpoint:
            print(
                'export.py: the weights are random, and the card says so: --checkpoint gives others.', file=sys.stderr
            )
    except Exception as error:
        own = isinstance(error, (ValueError, ImportError, OSError))
        sentence = ' '.join(str(error).split()) if own else mm_config.explain(error)
        if sentence is None:
            raise
        for words, flags in FLAGS.items():
            sentence = sentence.replace(words, flags)
        print(f'export.py: {sentence}', file=sys.stderr)
        return 2
    return 0


def _export(options: argparse.Namespace) -> tuple['ExportReport', list[str]]:
    from backbones.deploy import export_onnx

    if options.checkpoint and not Path(options.checkpoint).is_file():
        raise ValueError(f'--checkpoint: there is no file {options.checkpoint}')
    if options.images is not None and options.images < 1:
        raise ValueError(f'--images must be at least 1, but is {options.images}')
    formats.check(options)
    name = options.model or Path(options.config).stem
    output = Path(options.output or f'{name}{formats.ENDINGS[options.format]}')
    formats.check_output(options, output)
    facts: dict[str, Any] = {}
    if options.config:
        config, model = _mm_model(options)
        size = _input_size(options, model)
        if size:
            _set_size(config, *size[-2:])
        facts = config_facts(config, model)
    else:
        config, model = None, _timm_model(options)
    _check_kind(options, model)
    facts['input_size'] = _input_size(options, model) or facts.get('input_size')
    facts['metadata'] = models.origin(options.checkpoint)
    size = facts['input_size']
    measure, samples = _measure(options, config, model), _samples(options, model, size)
    pictures = _calibration(options, config, model.eval(), size)
    with formats.source(options, output) as path:
        report = export_onnx(model, path, samples=samples, measure=measure, **_settings(options), **facts)
        other = None if measure is None else _measure(options, config, model, None)
        return report, formats.derive(options, path, output, pictures, other)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """What `export_onnx` is told of the command line."""
    return dict(
        batch_size=options.batch_size,
        dynamic=DYNAMIC[options.dynamic],
        opset=options.opset,
        fused=not options.no_fuse,
        normalize=options.normalize,
        argmax=options.argmax,
        nms=options.nms is not False,
    )


def _calibration(options: argparse.Namespace, config: Any, model: 'nn.Module', size: Any) -> Any:
    """Pictures of --calibration as the file takes them, in batches of one, or of the batch of a file of one shape."""
    if not options.calibration:
        return None
    paths = pictures.find('--calibration', options.calibration, options.images or formats.PICTURES)
    if config is not None:
        for path in paths:  # mmcv asserts
            pictures.read(path)
        with score.quiet():
            found = score.prepared(config, model, paths, not options.normalize)
    else:
        found = [picture[None].numpy() for picture in pictures.load(model, paths, not options.normalize, size)]
    batch = 1 if DYNAMIC[options.dynamic] else options.batch_size
    if len(found) < batch:
        raise ValueError(f'--calibration must give a batch of {batch} pictures at least, but gives {len(found)}')
    if batch == 1:
        return found
    import numpy as np

    return [np.concatenate(found[i : i + batch]) for i in range(0, len(found) - batch + 1, batch)]


def _check_kind(options: argparse.Namespace, model: 'nn.Module') -> None:
    """Refuse what a model of this kind cannot honour."""
    from backbones.deploy.detector import is_detector
    from backbones.deploy.segmentor import is_segmentor

    segmentor, detector = is_segmentor(model), is_detector(model)
    asked = {'--logits': options.logits, '--argmax': options.argmax}
    for flag in (flag for flag, given in asked.items() if given and not segmentor):
        raise ValueError(f'{flag} goes with a segmentor alone, but {type(model).__name__} has no decode_head')
    if options.nms is not None and not detector:
        flag = '--nms' if options.nms else '--no-nms'
        raise ValueError(f'{flag} goes with a detector alone, but {type(model).__name__} is none')
    if options.metric and (not options.config or options.nms is False):
        raise ValueError('--metric needs a --config with test data, and a file that gives boxes or classes')
    if (
        options.images is not None
        and not (options.samples or options.calibration)
        and (not options.config or options.metric is False)
    ):
        raise ValueError('--images has no effect without --samples, --calibration and a metric')
    if options.device is not None and (not options.config or options.metric is False):
        raise ValueError('--device has no effect without a metric: a model is traced and compared on the CPU')
    if options.device is not None:
        import torch

        try:
            torch.empty(0, device=options.device)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f'--device {options.device} cannot be used here: {str(error).splitlines()[0]}') from error


def _measure(
    options: argparse.Namespace, config: Any, model: 'nn.Module', tolerance: float | None = score.TOLERANCE
) -> Callable[[Path], dict[str, Any]] | None:
    """What scores a finished file; None where that is not asked for and cannot be done."""
    if config is None or options.metric is False:
        return None
    reason = score.missing(config)
    if options.metric is None:  # by itself only where nothing stands in the way
        if reason is None and options.nms is False:
            reason = 'a file without boxes has none'
        if reason is None and options.dynamic != 'all':
            reason = 'a file of one size does not take pictures of all sizes'
        if reason:
            print(f'export.py: the metric is not measured: {reason}.', file=sys.stderr)
            return None
    elif reason:
        raise ValueError(f'--metric cannot be measured: {reason}')
    images = options.images or (None if options.metric else IMAGES)
    from rich.progress import track

    def progress(chosen: Any) -> Any:
        return track(chosen, 'Measuring', transient=True)

    return lambda path: score.measure(config, model, path, images, options.device or 'cpu', progress, tolerance)


def _samples(options: argparse.Namespace, model: 'nn.Module', size: Any) -> 'torch.Tensor | None':
    if not options.samples:
        return None
    if options.config:
        raise ValueError('--samples goes with --model only')
    paths = pictures.find('--samples', options.samples, options.images or IMAGES)
    return pictures.load(model, paths, not options.normalize, size)


def _input_size(options: argparse.Namespace, model: 'nn.Module') -> tuple[int, ...] | None:
    if options.input_size:
        return tuple(options.input_size)
    if not options.img_size:
        return None
    if len(options.img_size) > 2:
        raise ValueError(f'--img-size takes one side or height and width, but got {len(options.img_size)} numbers')
    from backbones.deploy.wrap import pretrained_cfg

    channels = (pretrained_cfg(model).get('input_size') or (3,))[0]
    return (channels, options.img_size[0], options.img_size[-1])


def _timm_model(options: argparse.Namespace) -> 'nn.Module':
    """The named model with the weights of the checkpoint, random ones without."""
    kwargs: dict[str, Any] = {}
    if options.num_classes is not None:
        if options.features:
            raise ValueError('--num-classes has no effect with --features: a pyramid has no classes')
        kwargs['num_classes'] = options.num_classes
    if options.features:
        kwargs['features_only'] = True
    return models.create(options.model, words=options.model_kwargs, checkpoint=options.checkpoint, **kwargs)


def _mm_model(options: argparse.Namespace) -> tuple[Any, 'nn.Module']:
    """The config, and its model with the checkpoint's weights."""
    from backbones.mm import build_model

    given = {
        '--features': options.features,
        '--num-classes': options.num_classes is not None,
        '--model-kwargs': bool(options.model_kwargs),
    }
    if any(given.values()):
        raise ValueError(f'{", ".join(name for name, is_given in given.items() if is_given)} goes with --model only')
    if not options.checkpoint:
        raise ValueError('--config needs --checkpoint, the weights of the model')
    config = mm_config.load_config(options.config, {})
    with score.quiet():
        return config, build_model(config, options.checkpoint)


def _set_size(config: Any, height: int, width: int) -> None:
    """The test pipeline prepares pictures for another size."""
    steps = ((config.get('test_dataloader') or {}).get('dataset') or {}).get('pipeline', ())
    cut = next((step for step in steps if step['type'].endswith('CenterCrop')), None)
    if cut is not None and height != width:
        raise ValueError(f'--img-size must be one side, since pictures are cut to squares, but is {height} {width}')
    for step in steps:
        if 'scale' in step and cut is None:
            step['scale'] = height if isinstance(step['scale'], int) and height == width else (width, height)
        elif 'scale' in step:
            longer = height / cut['crop_size']
            scale = step['scale']
            step['scale'] = round(scale * longer) if isinstance(scale, int) else tuple(round(s * longer) for s in scale)
        elif step['type'].endswith('Pad') and step.get('size'):
            step['size'] = (width, height)
    if cut is not None:
        cut['crop_size'] = height


def config_facts(config: Any, model: 'nn.Module') -> dict[str, Any]:
    """What the config says of a picture's size and of the classes, as `export_onnx` takes it."""
    dataset = (config.get('test_dataloader') or {}).get('dataset') or {}
    found: dict[str, Any] = {'classes': mm_config.class_names(config, dataset) if dataset else []}
    steps = dataset.get('pipeline', ())
    step = next((step for step in steps if 'scale' in step), None)
    cut = next((step for step in steps if step['type'].endswith('CenterCrop')), None)
    if step is None:
        return found
    scale, interpolation = step['scale'], step.get('interpolation', 'bilinear')
    scale = (scale, scale) if isinstance(scale, int) else scale
    if cut is not None:  # a classifier's: the shorter side, and then the centre
        side = cut['crop_size']
        found['resize'] = {'mode': 'crop', 'crop_pct': side / min(scale), 'interpolation': interpolation}
        found['input_size'] = (3, side, side)
        return found
    if step.get('backend') == 'pillow' and not step.get('keep_ratio'):  # by its own filter, as timm squashes
        found['resize'] = {'mode': 'squash', 'crop_pct': 1.0, 'interpolation': interpolation}
        found['input_size'] = (3, *scale[::-1])
        return found
    found['resize'] = {
        'mode': 'keep_ratio' if step.get('keep_ratio') else 'stretch',
        'scale': scale,
        'interpolation': interpolation,
    }
    preprocessor: Any = getattr(model, 'data_preprocessor', None)
    if (getattr(preprocessor, 'pad_size_divisor', None) or 1) > 1:
        found['resize']['pad_to'] = preprocessor.pad_size_divisor
    if isinstance(scale, tuple | list):
        found['input_size'] = (3, scale[1], scale[0])
    stretch = next((step for step in steps if step['type'].endswith('ResizeToMultiple')), None)
    if stretch is not None:
        found['resize']['stretch_to'] = stretch.get('size_divisor', 32)
    pad = next((step for step in steps if step['type'].endswith('Pad')), None)
    if pad is not None:
        value = pad.get('pad_val', 0)
        value = value.get('img', 0) if isinstance(value, dict) else value
        found['resize']['pad_value'] = value if isinstance(value, int | float) else list(value)[::-1]  # BGR until here
        if pad.get('size'):
            found['resize']['mode'] = 'pad'
            found['input_size'] = (3, *pad['size'][::-1])
        elif pad.get('size_divisor'):
            found['resize']['pad_to'] = pad['size_divisor']
        else:  # to squares, of as many sizes as pictures have: no card says that
            found['resize'] = None
    return found


def _print(report: 'ExportReport', lines: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    # a pipe has no width: let the table be as wide as it needs
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table('Input', 'Output', title='ONNX Runtime against PyTorch')
    table.add_column('Largest error', justify='right')
    if report.kind == 'detector':
        table.add_column('Boxes', justify='right')
    worst: dict[tuple, Check] = {}  # of several batches of one shape
    for check in report.checks:
        key = (check.shape, check.output)
        worst[key] = max(worst.get(key, check), check, key=lambda found: found.error)
    for check in worst.values():
        boxes = [] if check.boxes is None else [str(check.boxes)]
        table.add_row(' × '.join(map(str, check.shape)), check.output, f'{check.error:.1e}', *boxes)
    console.print(table)
    free = f'any {", ".join(report.dynamic)}' if report.dynamic else 'one shape'
    if report.fusion:
        fusion = max(check.error for check in report.fusion)
        console.print(f'Fused against unfused in float64: largest error {fusion:.1e}.', highlight=False)
    if report.metric:
        console.print(
            '{name} on {pictures} of {of} test pictures: {pytorch:.2f} with PyTorch, '
            '{onnxruntime:.2f} with the file.'.format(**report.metric),
            highlight=False,
        )
    elif report.checks and report.kind in ('detector', 'segmentor'):
        console.print(
            "Compared with the plain form that this package builds of the model's parts; how OpenMMLab's own "
            'prediction scores beside the file is what --metric measures.',
            highlight=False,
        )
    there = report.path.is_file()  # else other files were made of it, and it is gone
    console.print(
        f'{report.path if there else "ONNX on the way"}: {report.kind}, {report.nodes} operators of opset '
        f'{report.opset}, {report.size / 1e6:.1f} MB, {free}; outputs {", ".join(report.outputs)}'
        + (f'; card {report.card.name}' if there else ''),
        highlight=False,
    )
    for runtime, drift in report.drift.items():
        console.print(
            f'{runtime}, its own spikes on {drift.pictures} pictures: same top-1 {drift.top1:.1%}, largest difference '
            f'{drift.error:.1e}, spikes that differ {drift.spikes:.1e}, firing rate {drift.rate:.3f}',
            highlight=False,
        )
    for line in lines:
        console.print(line, highlight=False)
    if report.kind == 'detector' and not any(check.boxes for check in report.checks if check.output == 'dets'):
        console.print('Nothing was found in the random pictures: only the maps of the head were compared.')


if __name__ == '__main__':
    sys.exit(main())
