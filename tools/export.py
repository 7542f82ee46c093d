"""Write a backbone, its feature pyramid or a whole detector as an ONNX file that was compared with PyTorch.

    python tools/export.py --model lsnet_t --checkpoint lsnet_t.pth --output lsnet_t.onnx
    python tools/export.py --model lsnet_t --features --output lsnet_t_features.onnx
    python tools/export.py --config configs/detection/retinanet_lsnet_t_fpn_bccd.py --checkpoint CHECKPOINT

The file takes any batch, height and width unless `--dynamic batch` or `--static` is given. It is written only if ONNX
Runtime gives what PyTorch gives.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

    from backbones.deploy.export import Check, ExportReport


try:
    from tools import models, pictures
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import models  # type: ignore[no-redef]
    import pictures  # type: ignore[no-redef]

DYNAMIC = {'all': True, 'batch': 'batch', 'none': False}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='export.py', description='Write a model as an ONNX file and compare the two.')
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--model', '-m', metavar='NAME', help="a name of ours or of timm's own")
    what.add_argument('--config', help='config of a detector, with --checkpoint')
    parser.add_argument('--checkpoint', help='weights, in any layout that the model can be loaded from')
    parser.add_argument('--output', '-o', help='the file to write (default: NAME.onnx)')
    size = parser.add_mutually_exclusive_group()
    size.add_argument('--input-size', nargs=3, type=int, metavar=('C', 'H', 'W'), help="default: the model's own")
    size.add_argument('--img-size', nargs='+', type=int, metavar='SIDE', help='side, or height and width, in pixels')
    parser.add_argument('--features', action='store_true', help='export the maps of all stages instead of the classes')
    models.add_kwargs(parser)
    parser.add_argument('--num-classes', type=int, help='classes of --model, if not its own number')
    axes = parser.add_mutually_exclusive_group()
    axes.add_argument(
        '--dynamic', choices=DYNAMIC, default='all', help='axes left free: all (the default), batch or none'
    )
    axes.add_argument('--static', action='store_const', dest='dynamic', const='none', help='the same as --dynamic none')
    parser.add_argument('--batch-size', '-b', type=int, default=2, help='batch that is traced (default: 2)')
    parser.add_argument('--opset', type=int, default=18, help='version of the ONNX operators (default: 18)')
    parser.add_argument('--no-fuse', action='store_true', help='leave out the re-parameterisation')
    parser.add_argument('--samples', metavar='FOLDER', help='compare on the pictures of this folder too')
    parser.add_argument('--images', type=int, default=16, help='pictures of the folder to take (default: 16)')
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
        _print(_export(options))
    except (ValueError, ImportError, OSError) as error:
        print(f'export.py: {" ".join(str(error).split())}', file=sys.stderr)
        return 2
    return 0


def _export(options: argparse.Namespace) -> 'ExportReport':
    from backbones.deploy import export_onnx

    if options.checkpoint and not Path(options.checkpoint).is_file():
        raise ValueError(f'--checkpoint: there is no file {options.checkpoint}')
    name = options.model or Path(options.config).stem
    model, size, classes = _detector(options) if options.config else (_timm_model(options), None, None)
    output = Path(options.output or f'{name}.onnx')
    return export_onnx(
        model.eval(),
        output,
        input_size=_input_size(options, model) or size,
        batch_size=options.batch_size,
        dynamic=DYNAMIC[options.dynamic],
        opset=options.opset,
        fused=not options.no_fuse,
        normalize=options.normalize,
        classes=classes,
        samples=_samples(options, model),
    )


def _samples(options: argparse.Namespace, model: 'nn.Module') -> 'torch.Tensor | None':
    if not options.samples:
        return None
    if options.config:
        raise ValueError('--samples goes with --model only')
    paths = pictures.find('--samples', options.samples, options.images)
    return pictures.load(model, paths, not options.normalize)


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


def _detector(options: argparse.Namespace) -> tuple['nn.Module', tuple[int, int, int] | None, list[str]]:
    """Model of the config with the checkpoint's weights, its test size and its classes."""
    try:
        from tools import mm_config
    except ImportError:  # run as a script: this folder is on the path, its parent is not
        import mm_config
    from backbones.mm import build_model

    given = {
        '--features': options.features,
        '--num-classes': options.num_classes is not None,
        '--model-kwargs': bool(options.model_kwargs),
    }
    if any(given.values()):
        raise ValueError(f'{", ".join(name for name, is_given in given.items() if is_given)} goes with --model only')
    if not options.checkpoint:
        raise ValueError('--config needs --checkpoint, the weights of the detector')
    config = mm_config.load_config(options.config, {})
    dataset = (config.get('test_dataloader') or {}).get('dataset') or {}
    scales = [step['scale'] for step in dataset.get('pipeline', ()) if 'scale' in step]
    size = (3, scales[0][1], scales[0][0]) if scales and isinstance(scales[0], tuple | list) else None
    classes = mm_config.class_names(config, dataset) if dataset else []
    return build_model(config, options.checkpoint), size, classes


def _print(report: 'ExportReport') -> None:
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
    console.print(
        f'{report.path}: {report.kind}, {report.nodes} operators of opset {report.opset}, '
        f'{report.size / 1e6:.1f} MB, {free}; outputs {", ".join(report.outputs)}',
        highlight=False,
    )
    for runtime, drift in report.drift.items():
        console.print(
            f'{runtime}, its own spikes on {drift.pictures} pictures: same top-1 {drift.top1:.1%}, largest difference '
            f'{drift.error:.1e}, spikes that differ {drift.spikes:.1e}, firing rate {drift.rate:.3f}',
            highlight=False,
        )
    if report.kind == 'detector' and not any(check.boxes for check in report.checks if check.output == 'dets'):
        console.print('Nothing was found in the random pictures: only the maps of the head were compared.')


if __name__ == '__main__':
    sys.exit(main())
