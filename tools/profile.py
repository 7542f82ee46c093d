"""Parameters, multiply-adds, activations and operators of models, side by side and layer by layer.

    python tools/profile.py --model lsnet_t lsnet_s --fused
    python tools/profile.py --model lsnet_t --depth 2 --input-size 3 256 320
    python tools/profile.py --model max_former_cifar --spikes data/bccd --plot spikes.png

`--results-file` writes a CSV with timm's column names. `--spikes` counts what spiking networks do with the pictures of
a folder: see `spike_report.py`, and `backbones/energy.py` for the rules.
"""

import argparse
import csv
import importlib.machinery
import importlib.util
import io
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backbones.profile import Profile

try:
    from tools import files, models, spike_report
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import files  # type: ignore[no-redef]
    import models  # type: ignore[no-redef]
    import spike_report  # type: ignore[no-redef]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='profile.py',
        description='Parameters, multiply-adds (MACs), activations and operators of models, for one image.',
    )
    parser.add_argument('--model', '-m', nargs='+', required=True, metavar='NAME', help="names of ours or timm's own")
    models.add_kwargs(parser)
    parser.add_argument(
        '--input-size', nargs=3, type=int, metavar=('C', 'H', 'W'), help="image size, default: each model's own"
    )
    parser.add_argument(
        '--depth', type=int, default=0, help='also list the layers down to this depth, 1 is the top (default 0: none)'
    )
    parser.add_argument('--fused', action='store_true', help='also profile the re-parameterised model')
    parser.add_argument(
        '--spikes', metavar='FOLDER', help='firing rates, operations and energy of spiking networks on these pictures'
    )
    parser.add_argument('--images', type=int, default=16, help='pictures of the folder to take (default 16)')
    parser.add_argument('--checkpoint', metavar='FILE', help='weights of the one model, for --spikes')
    parser.add_argument('--integers', action='store_true', help='count whole numbers above 1 as accumulations too')
    parser.add_argument('--plot', metavar='PNG', help='with --spikes: draw rates and energy into this file')
    parser.add_argument('--results-file', metavar='CSV', help="write the totals to this file, with timm's columns")
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
        if options.depth < 0:
            raise ValueError(f'--depth must be at least 0, but is {options.depth}.')
        _check_together(options)
        if options.spikes:
            spike_report.report(options)
            return 0
        profiles = {name: _profile(name, options) for name in options.model}
        _print(profiles, options.depth)
        if options.results_file:
            _write_csv(options.results_file, profiles)
    except (ValueError, ImportError, OSError) as error:
        print(f'profile.py: {error}', file=sys.stderr)
        return 2
    return 0


def _check_together(options: argparse.Namespace) -> None:
    """Refuse options that would have no effect."""
    with_spikes = {'--checkpoint': options.checkpoint, '--integers': options.integers, '--plot': options.plot}
    without = {
        '--input-size': options.input_size,
        '--depth': options.depth,
        '--fused': options.fused,
        '--results-file': options.results_file,
    }
    for name, given in (without if options.spikes else with_spikes).items():
        if given:
            needs = 'goes without --spikes' if options.spikes else 'needs --spikes FOLDER'
            raise ValueError(f'{name} {needs}, and has no effect here: leave one of them out.')


def _profile(name: str, options: argparse.Namespace) -> 'Profile':
    from backbones.profile import profile

    model = models.create(name, words=options.model_kwargs)
    size: Any = tuple(options.input_size or model.pretrained_cfg['input_size'])
    try:
        return profile(model, size, fused=options.fused)
    except (AssertionError, RuntimeError) as error:  # how timm's models refuse a size
        raise ValueError(f'{name} does not run at --input-size {size}: {error}') from error


def _print(profiles: dict[str, 'Profile'], depth: int) -> None:
    from rich.console import Console

    # a pipe has no width: let the tables be as wide as they need
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(_totals(profiles))
    for name, result in profiles.items():
        if depth:
            console.print(_layers(name, result, depth))
        left_out = ', '.join(f'{op.removeprefix("aten::")} {count}' for op, count in result.uncounted.items())
        console.print(f'{name}: not counted as multiply-adds: {left_out or "nothing"}', style='dim', highlight=False)


def _totals(profiles: dict[str, 'Profile']) -> Any:
    from rich.table import Table

    table = Table('Model', 'Input', title='For one image')
    for column in ('Parameters (M)', 'MACs (G)', 'Activations (M)', 'Operators'):
        table.add_column(column, justify='right')
    for name, result in profiles.items():
        for label, form in ((name, result), (f'{name}, fused', result.fused)):
            if form is not None:
                size = ' × '.join(map(str, form.input_size))
                table.add_row(label, size, *_numbers(form), str(form.operators))
    return table


def _layers(name: str, result: 'Profile', depth: int) -> Any:
    from rich.table import Table

    table = Table('Layer', 'Class', 'Output', title=name)
    for column in ('Parameters (M)', 'MACs (G)', 'Activations (M)'):
        table.add_column(column, justify='right')
    for layer in result.layers:
        if layer.depth <= depth:
            output = ' × '.join(map(str, layer.output)) if layer.output else ''
            table.add_row(layer.name or name, layer.kind, output, *_numbers(layer))
    return table


def _numbers(counts: Any) -> tuple[str, str, str]:
    return f'{counts.parameters / 1e6:.3f}', f'{counts.macs / 1e9:.4f}', f'{counts.activations / 1e6:.3f}'


def _write_csv(path: str, profiles: dict[str, 'Profile']) -> None:
    """timm's columns, then the operators; a fused model is a row of its own."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['model', 'gmacs', 'macts', 'batch_size', 'img_size', 'param_count', 'operators'])
    for name, result in profiles.items():
        for label, form in ((name, result), (f'{name} (fused)', result.fused)):
            if form is not None:
                # timm writes the side of a square image; other shapes need both
                height, width = form.input_size[1:]
                size = height if height == width else f'{height}x{width}'
                counts = (form.macs / 1e9, form.activations / 1e6, 1, size, form.parameters / 1e6, form.operators)
                writer.writerow([label, *(round(n, 4) if isinstance(n, float) else n for n in counts)])
    files.write(path, text.getvalue())


def _step_aside() -> None:
    """Load the standard library's `profile` in place of this file.

    `python tools/train.py` puts this folder first on the path, where this file hides the module that `cProfile`, and
    through it torch's compiler, imports.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    elsewhere = [path for path in sys.path if os.path.abspath(path or os.curdir) != here]
    spec = importlib.machinery.PathFinder.find_spec('profile', elsewhere)
    assert spec is not None
    assert spec.loader is not None
    sys.modules['profile'] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules['profile'])


if __name__ == 'profile':
    _step_aside()
elif __name__ == '__main__':
    sys.exit(main())
