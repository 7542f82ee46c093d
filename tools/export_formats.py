"""Other forms of an exported ONNX file, for `export.py`: float16, 8-bit integers, OpenVINO, TensorRT's commands."""

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ENDINGS = {'onnx': '.onnx', 'openvino': '.xml'}
COMPANIONS = {'onnx': (), 'openvino': ('.bin',)}  # endings of what belongs to the file and lies beside it
OVERFLOW = 3.0  # decibels by which the kernels of a processor may be worse than the file
PICTURES = 64  # that ranges are taken from if nobody says how many


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--format`, `--half`, `--int8`, `--calibration` and `--tensorrt`."""
    add = parser.add_argument
    add('--format', choices=ENDINGS, default='onnx', help='onnx (the default), or openvino: .xml with .bin')
    add('--half', action='store_true', help='float16, but for what needs float32 on the pictures of --calibration; '
        'with --format openvino the weights alone')  # fmt: skip
    add('--int8', action='store_true', help='8-bit integers, but for layers that spoil the outputs')
    add('--reduce-range', action='store_true', help='weights of seven bits, for x86 processors without VNNI, where '
        'sums of products of eight bits overflow')  # fmt: skip
    add('--calibration', metavar='FOLDER', help='real pictures to measure on, for --half and --int8')
    add('--tensorrt', action='store_true', help="write trtexec's command lines for TensorRT 10 and 11 beside the file, "
        'and the files of --half and --int8 as NAME_half.onnx and NAME_int8.onnx')  # fmt: skip


def check(options: argparse.Namespace) -> None:
    """Refuse what does not go together.

    Raises:
        ValueError: One flag rules out another, or needs one that is not given.
    """
    openvino, measured = options.format == 'openvino', options.int8 or (options.half and options.format == 'onnx')
    if options.tensorrt and openvino:
        raise ValueError('--tensorrt goes with --format onnx: TensorRT does not read files of OpenVINO')
    if options.half and options.int8 and not options.tensorrt:
        raise ValueError('--half and --int8 are two files: give one of them, or --tensorrt, which writes both')
    if measured and not options.calibration:
        flag = '--int8' if options.int8 else '--half'
        raise ValueError(f'{flag} needs --calibration FOLDER, with real pictures of the kind that the model will see')
    if options.reduce_range and (not options.int8 or openvino):
        raise ValueError('--reduce-range has no effect without --int8 and --format onnx')
    if openvino and options.int8 and options.dynamic not in ('all', 'batch') and options.batch_size > 1:
        raise ValueError(
            '--int8 with --format openvino takes pictures one by one: give --batch-size 1, or a free batch'
        )
    if options.calibration and not measured:
        raise ValueError('--calibration has no effect without --int8 or --half: nothing is measured on pictures')
    if openvino:
        from backbones.deploy.openvino import require

        for package in ('openvino', 'nncf')[: 1 + options.int8]:
            require(package)
    if options.calibration and not Path(options.calibration).is_dir():
        raise ValueError(f'--calibration: there is no folder {options.calibration}')


def check_output(options: argparse.Namespace, output: Path) -> None:
    """Refuse an output of another format's name, or whose files would take the place of what the model is made from.

    Raises:
        ValueError: The ending, the checkpoint or the config says so.
    """
    ending = ENDINGS[options.format]
    if output.suffix != ending:
        raise ValueError(f'--output must name a file that ends in {ending} for --format {options.format}: {output}')
    written = {output.with_suffix(suffix).resolve() for suffix in (ending, '.json', *COMPANIONS[options.format])}
    for flag, given in (('--checkpoint', options.checkpoint), ('--config', options.config)):
        if given and Path(given).resolve() in written:
            raise ValueError(f'--output must be another file than {flag}, but {output} would replace {given}')


@contextlib.contextmanager
def source(options: argparse.Namespace, output: Path) -> Iterator[Path]:
    """Where the float32 ONNX file goes: to the output if that is asked for, else to a folder for the time being."""
    from backbones.deploy.card import check_target

    derived = options.format != 'onnx' or options.half or options.int8
    if options.tensorrt:  # what would stand in the way is told before the work
        from backbones.deploy.tensorrt import recipe_target

        recipe_target(output)
        for path in (output, *(_named(output, flag) for flag in ('half', 'int8') if getattr(options, flag))):
            check_target(path)
    if options.tensorrt or not derived:
        yield output  # checked by the export
        return
    if not output.parent.is_dir():
        raise ValueError(f'--output must name a file in a folder that exists, but got {output}')
    if options.format == 'openvino':
        from backbones.deploy.openvino import target

        target(output)
    check_target(output, COMPANIONS[options.format])
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f'.{output.stem}.') as folder:
        yield Path(folder) / f'{output.stem}.onnx'


def derive(
    options: argparse.Namespace, path: Path, output: Path, pictures: Any, measure: Callable[[Path], Any] | None
) -> list[str]:
    """Write what else is asked for, each with its card.

    Args:
        options: The command line.
        path: The float32 ONNX file.
        output: What the user asked for.
        pictures: Batches as the file takes them; None if no flag needs them.
        measure: Gives the metric of a config for a file.

    Returns:
        A line on each file.
    """
    lines, made = [], {}
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f'.{output.stem}.') as folder:
        if options.format == 'openvino':
            return [_openvino(options, path, Path(folder) / output.name, output, pictures, measure)]
        for flag, write in (('half', _half), ('int8', _int8)):
            if getattr(options, flag):
                made[flag] = _named(output, flag) if options.tensorrt else output
                part = Path(folder) / f'{flag}.onnx'
                line, facts = write(path, part, pictures, options)
                metric = None if measure is None else measure(part)
                _place(part, path, made[flag], {**facts, 'metric': metric})
                lines.append(f'{made[flag]}: {line}' + (f'; {_metric(metric)}' if metric else ''))
    if options.tensorrt:
        from backbones.deploy.tensorrt import write_recipes

        lines.append(f'{write_recipes(path, **made)}: how TensorRT builds engines of it')
    return lines


def _named(output: Path, flag: str) -> Path:
    """The file of a lower precision beside the one of float32."""
    return output.with_name(f'{output.stem}_{flag}.onnx')


def _half(path: Path, part: Path, pictures: Any, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    from backbones.deploy.half import to_half

    report = to_half(path, part, pictures)
    line = (
        f'float16, {report.half} operators, {len(report.kept)} stay float32; headroom {report.headroom:.3g}, lowest '
        f'cosine {report.cosine:.6f}; on {report.pictures} pictures: {_changes(report)}'
    )
    return line, {'precision': 'float16', 'float32_nodes': report.kept, 'changes': [vars(c) for c in report.changes]}


def _int8(path: Path, part: Path, pictures: Any, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    from backbones.deploy.quantize import quantize

    report = quantize(path, part, pictures, reduce_range=options.reduce_range)
    line = (
        f'8-bit integers in {len(report.quantized)} layers, {len(report.kept)} stay float32; on {report.samples} '
        f'pictures: signal to noise {report.snr:.1f} dB{"" if report.reached else ", less than wanted"}; '
        f'{_changes(report)}'
    )
    for runtime, here in report.here.items():
        if here < report.snr - OVERFLOW:
            line += (
                f'; but {here:.1f} dB in the kernels of {runtime} on this processor, whose sums overflow: '
                '--reduce-range makes a file for such processors'
            )
    return line, {'precision': 'int8', 'float32_nodes': report.kept, 'changes': [vars(c) for c in report.changes]}


def _openvino(
    options: argparse.Namespace,
    path: Path,
    part: Path,
    output: Path,
    pictures: Any,
    measure: Callable[[Path], Any] | None,
) -> str:
    from backbones.deploy.openvino import export_openvino

    report = export_openvino(path, part, half=options.half)
    facts: dict[str, Any] = {'precision': 'float16' if options.half else 'float32'}
    facts |= {'format': 'openvino', 'openvino': [vars(check) for check in report.checks]}
    error = max(check.error for check in report.checks)
    line = f'OpenVINO {report.version}, {report.size / 1e6:.1f} MB, largest error beside the ONNX file {error:.1e}'
    if options.int8:
        from backbones.deploy.openvino_int8 import quantize_openvino

        small = part.with_name(f'int8_{part.name}')
        found = quantize_openvino(part, small, pictures)
        part, facts['precision'] = small, 'int8'
        facts['changes'] = {'error': found.error, 'top1': found.top1, 'boxes': found.boxes, 'pictures': found.pictures}
        values = {**found.error, 'same top-1': found.top1, 'same boxes': found.boxes}
        words = [f'{name} {value:.3g}' for name, value in values.items() if value is not None]
        line += f'; int8 by NNCF {found.version}, {found.size / 1e6:.1f} MB: {", ".join(words)}'
    metric = None if measure is None else measure(part)
    _place(part, path, output, {**facts, 'metric': metric}, [part.with_suffix('.bin')])
    return f'{output}: {line}' + (f'; {_metric(metric)}' if metric else '')


def _place(part: Path, path: Path, output: Path, facts: dict[str, Any], others: list[Path] | None = None) -> None:
    """Move a finished file to its place, with the card of what it was made from and the new facts.

    What was measured of the other file goes below `made_from`: this one was not held against the same limits.
    """
    from backbones.deploy.card import check_target, place, read_card

    others = others or []
    check_target(output, [other.suffix for other in others])
    card = read_card(path)
    made_from = {**card['files'][0], **{key: card.pop(key) for key in ('checks', 'fusion', 'metric')}}
    place(part, output, {**card, **facts, 'made_from': made_from}, others)


def _changes(report: Any) -> str:
    """Each output beside that of the float32 file."""
    words = []
    for change in report.changes:
        shares = {'top-1': change.top1, 'classes of pixels': change.pixels, 'boxes': change.boxes}
        facts = [f'same {name} {share:.1%}' for name, share in shares.items() if share is not None]
        error = [] if change.error is None else [f'error {change.error:.2g}']
        words.append(f'{change.output}: {", ".join(error + facts)}')
    return ', '.join(words)


def _metric(metric: dict[str, Any]) -> str:
    value = metric['openvino' if 'openvino' in metric else 'onnxruntime']
    return '{name} {value:.2f} ({pytorch:.2f} with PyTorch) on {pictures} pictures'.format(value=value, **metric)
