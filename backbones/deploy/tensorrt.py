"""How TensorRT builds engines from the written ONNX files: command lines, which are not run here.

Two generations want different things. In 10.x precision may be a flag of the build; from 11.0 on it is in the file
alone, and the flags are gone: float16 needs the file of `to_half`, 8-bit integers that of `quantize`.

Source: docs.nvidia.com/deeplearning/tensorrt, "Migrating trtexec Usage from TensorRT 10.x to 11.x" (11.4.1)
"""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .audit import audit, known_runtimes
from .operators import GRAPH
from .precision import Graph, read, saved
from .sensitive import SPIKING, rules

__all__ = ['recipe_target', 'recipes', 'write_recipes']

TEN = ('tensorrt-10.3', 'tensorrt-10.16')  # versions whose tables are asked, of each generation
ELEVEN = ('tensorrt-11.5',)
HEADER = """\
# How to build TensorRT engines from {name}. Not run here: TensorRT was not at hand where this was written, and the
# options are those of its documentation of 10.x and 11.4. What its versions make of the files is that of the tables of
# backbones.deploy.audit. Outputs should be compared with ONNX Runtime's afterwards.
"""


def recipes(
    path: str | os.PathLike,
    *,
    half: str | os.PathLike | None = None,
    int8: str | os.PathLike | None = None,
    batches: tuple[int, int, int] = (1, 1, 8),
    sizes: Sequence[tuple[int, int]] | None = None,
) -> str:
    """Command lines of `trtexec` for both generations of TensorRT.

    Args:
        path: A float32 file that `export_onnx` wrote.
        half: The file that `to_half` made of it, if there is one.
        int8: The file that `quantize` made of it, if there is one.
        batches: Smallest, usual and largest batch, where the batch is free.
        sizes: Smallest, usual and largest (height, width) in pixels, where they are free; half the size that the file
            is meant for, that size and twice that if None.

    Returns:
        A text whose lines are commands, or comments that start with '#'.

    Raises:
        ValueError: A file that does not exist or is none of `export_onnx`, or shapes that do not grow or hold nothing.
    """
    graph = read(path)
    for name, other in (('half', half), ('int8', int8)):
        if other is not None and not Path(other).is_file():
            raise ValueError(f'{name} must name a file that exists, but got {other}: write it first, or leave it out.')
    shapes = _shapes(graph, batches, sizes)
    files = {graph.path.name: graph.proto, **{Path(other).name: other for other in (half, int8) if other is not None}}
    ten = _ten(graph, _notes(files, TEN), shapes, half, int8)
    return '\n'.join(
        [HEADER.format(name=graph.path.name), ten, _eleven(graph, _notes(files, ELEVEN), shapes, half, int8)]
    )


def write_recipes(path: str | os.PathLike, **options: Any) -> Path:
    """Write `recipes` beside a file, as `model.trt.txt` for `model.onnx`.

    Args:
        path: A float32 file that `export_onnx` wrote.
        options: As in `recipes`.

    Returns:
        The file that was written.

    Raises:
        ValueError: As in `recipes`, or there is another text of that name.
    """
    text, target = recipes(path, **options), recipe_target(path)
    with saved(target, Path(path)) as part:
        part.write_text(text, encoding='utf-8')
    return target


def recipe_target(path: str | os.PathLike) -> Path:
    """Where the command lines for a file go.

    Raises:
        ValueError: There is a file of that name which holds something else.
    """
    target = Path(path).with_suffix('.trt.txt')
    start = HEADER.partition('{')[0].encode()
    if target.exists() and not (target.is_file() and target.read_bytes().startswith(start)):
        raise ValueError(
            f"{target} must be an earlier text of TensorRT's command lines to be replaced, but is another file: give "
            'another name, or remove it.'
        )
    return target


# Shapes


def _shapes(graph: Graph, batches: Sequence[int], sizes: Sequence[tuple[int, int]] | None) -> str:
    """Options that say what the free axes may be; nothing where none are."""
    free = [axis for axis, side in enumerate(graph.shape) if side is None]
    last = len(graph.shape) - 2
    if sizes is not None and last not in free:
        raise ValueError(f'sizes has no effect: {graph.path.name} takes pictures of {graph.shape[last:]} pixels alone.')
    if not free:
        return ''
    sizes = sizes or (_sizes(graph) if last in free else [(1, 1)] * 3)
    columns = list(zip(batches, *zip(*sizes, strict=True), strict=False))
    if (
        len(batches) != 3
        or len(sizes) != 3
        or any(list(c) != sorted(c) or c[0] < 1 for c in zip(*columns, strict=True))
    ):
        raise ValueError(
            'batches and sizes must have three entries, smallest, usual and largest, none smaller than 1 or than the '
            f'one before, but got {tuple(batches)} and {[tuple(s) for s in sizes]}.'
        )
    name, options = graph.proto.graph.input[0].name, []
    for what, (batch, height, width) in zip(('min', 'opt', 'max'), columns, strict=True):
        wanted = {0: batch, last: height, last + 1: width}
        shape = [wanted[axis] if side is None else side for axis, side in enumerate(graph.shape)]
        options.append(f'--{what}Shapes={name}:{"x".join(map(str, shape))}')
    return ' '.join(options)


def _sizes(graph: Graph) -> list[tuple[int, int]]:
    """Half of the size that the file is meant for, that size, and twice that, in whole steps of the largest stride."""
    facts = _facts(graph)
    size = facts.get('input_size')
    if not size:
        raise ValueError(f'sizes must be given, since {graph.path.name} does not say what size it is meant for.')
    step = max(facts.get('strides') or [32])
    height, width = size[-2:]
    smallest = tuple(max(step, -(-side // 2 // step) * step) for side in (height, width))
    return [(min(smallest[0], height), min(smallest[1], width)), (height, width), (2 * height, 2 * width)]


def _facts(graph: Graph) -> dict[str, Any]:
    """Metadata that `export_onnx` wrote as JSON."""
    found = {}
    for entry in graph.proto.metadata_props:
        if entry.key in ('input_size', 'strides'):
            found[entry.key] = json.loads(entry.value)
    return found


# Commands


def _command(graph: Graph, file: str | os.PathLike | None, kind: str, shapes: str, *flags: str) -> str:
    source = Path(file or graph.path).name
    names = f'--onnx={source}', f'--saveEngine={graph.path.stem}.{kind}.plan'
    return ' '.join(word for word in ('trtexec', *map(shlex.quote, names), *flags, shapes) if word) + '\n'


def _ten(graph: Graph, notes: str, shapes: str, half: Any, int8: Any) -> str:
    text = f'# ---- TensorRT 10.x (JetPack 6: 10.3) ----\n{notes}# float32:\n'
    text += _command(graph, None, 'fp32', shapes)
    if SPIKING in rules(graph).values():
        text += '# float16 by the flag --fp16 is left out: it would round what thresholds decide on.\n'
    else:
        text += '# float16 where TensorRT finds it faster, whatever it costs in accuracy:\n'
        text += _command(graph, None, 'fp16', shapes, '--fp16')
    if half:
        text += '# float16 where it was measured to be right:\n'
        text += _command(graph, half, 'half', shapes, '--stronglyTyped')
    else:
        text += '# float16 where it is right needs a file by backbones.deploy.half.to_half.\n'
    if int8:
        text += '# 8-bit integers, as the file says:\n' + _command(graph, int8, 'int8', shapes, '--stronglyTyped')
        if SPIKING not in rules(graph).values():
            text += '# the same, and float16 for the rest where that is faster:\n'
            text += _command(graph, int8, 'int8-fp16', shapes, '--int8', '--fp16')
    return text


def _eleven(graph: Graph, notes: str, shapes: str, half: Any, int8: Any) -> str:
    text = '# ---- TensorRT 11.x: strongly typed, without flags of precision (JetPack: not in 11.3 and 11.4) ----\n'
    text += notes + '# float32:\n' + _command(graph, None, 'fp32', shapes)
    if half:
        text += '# float16 and float32, as the file says:\n' + _command(graph, half, 'half', shapes)
    else:
        text += '# float16 needs a file by backbones.deploy.half.to_half.\n'
    if int8:
        text += '# 8-bit integers and float32, as the file says:\n' + _command(graph, int8, 'int8', shapes)
    else:
        text += '# 8-bit integers need a file by backbones.deploy.quantize.quantize.\n'
    return text


def _notes(files: Mapping[str, Any], versions: Sequence[str]) -> str:
    """What versions of TensorRT do not take of the files, or not well, a line each."""
    titles, lines = known_runtimes(), []
    for name, file in files.items():
        report = audit(file, versions)
        for f in report.problems():
            what = f'{f.operator} is {f.verdict}' if f.operator != GRAPH else f'it is {f.verdict}'
            lines.append(
                f'# {titles[f.runtime]}, {name}: {what}: {f.reason}{f" (cure: {f.cure})" if f.cure else ""}.\n'
            )
    return ''.join(dict.fromkeys(lines))
