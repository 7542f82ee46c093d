"""Look at what models find, what backbones see, and where a trained model errs.

    python tools/look.py side-by-side PICTURE --runs WORK_DIR WORK_DIR --out outputs/look
    python tools/look.py maps lsnet_t PICTURE --checkpoint FILE
    python tools/look.py field lsnet_t --checkpoint FILE --pictures FOLDER
    python tools/look.py cam CONFIG CHECKPOINT PICTURE --classes NAME NAME
    python tools/look.py errors CONFIG CHECKPOINT

`side-by-side` draws what several trained runs find in one picture, `maps` the feature maps of a backbone on a picture,
`field` its effective receptive field at each level, `cam` what speaks for a class of a classifier, `errors` a confusion
matrix and the worst pictures of the test split. All of it is written as PNG into the folder `--out`, and its page
`index.html` holds all that lies there.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

try:
    from tools import look_cam, look_errors, look_field, look_maps, look_page, mm_config, models, plots, predict
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import look_cam  # type: ignore[no-redef]
    import look_errors  # type: ignore[no-redef]
    import look_field  # type: ignore[no-redef]
    import look_maps  # type: ignore[no-redef]
    import look_page  # type: ignore[no-redef]
    import mm_config  # type: ignore[no-redef]
    import models  # type: ignore[no-redef]
    import plots  # type: ignore[no-redef]
    import predict  # type: ignore[no-redef]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='look.py', description='Look at models and at what they find.')
    commands = parser.add_subparsers(dest='command', required=True)

    def command(name: str, text: str, work: Any) -> Any:
        made = commands.add_parser(name, help=text, description=f'{text[0].upper()}{text[1:]}.')
        made.set_defaults(work=work)
        made.add_argument('--out', default='outputs/look', help='folder for what is written (default: outputs/look)')
        return made.add_argument

    add = command('side-by-side', 'what several trained runs find in one picture', _side_by_side)
    add('picture')
    add('--runs', nargs='+', required=True, metavar='WORK_DIR', help='folders of train.py or compare.py')
    _add_finding(add)
    add = command('maps', 'feature maps of a backbone on a picture', look_maps.draw)
    add('name', help='name of ours or of timm')
    add('picture')
    add('--img-size', type=int, default=448, help='pixels of the longer side that the backbone gets (default: 448)')
    _add_backbone(add)
    models.add_kwargs(commands.choices['maps'])
    add = command('field', 'effective receptive field of a backbone', look_field.draw)
    add('name', help='name of ours or of timm')
    add('--img-size', type=int, default=224, help='pixels of each side (default: 224)')
    add('--pictures', metavar='FOLDER', help='average over its pictures (default: over noise)')
    add('--images', type=int, default=8, help='how many pictures (default: 8)')
    _add_backbone(add)
    models.add_kwargs(commands.choices['field'])
    add = command('cam', 'what in a picture speaks for a class of a trained classifier (Grad-CAM)', look_cam.draw)
    mm_config.add_config(commands.choices['cam'])
    add('checkpoint', help='.pth of a training, or .safetensors')
    add('picture')
    add('--classes', nargs='+', metavar='NAME', help='classes to ask for (default: the one that is found)')
    _add_device(add)
    add = command('errors', 'confusion matrix and worst pictures of a test split', look_errors.draw)
    mm_config.add_config(commands.choices['errors'])
    add('checkpoint', help='.pth of a training, or .safetensors')
    add('--images', type=int, help='take so many pictures of the split, evenly spaced (default: all)')
    add('--worst', type=int, default=8, help='how many pictures to show (default: 8)')
    _add_finding(add)
    return parser


def _add_finding(add: Any) -> None:
    predict.add_threshold(add)
    _add_device(add)


def _add_device(add: Any) -> None:
    add('--device', default=None, help='cpu, cuda, cuda:1 ... (default: a GPU if there is one)')


def _add_backbone(add: Any) -> None:
    add('--level', type=int, nargs='+', metavar='I', help='levels from 0, or from -1 backwards (default: all)')
    add('--checkpoint', metavar='FILE', help='weights of the backbone, or of what was built on it (default: random)')


def main(args: list[str] | None = None) -> int:
    """Run the tool.

    Args:
        args: Command line without the program's name, `sys.argv` by default.

    Returns:
        Exit code: 0, or 2 after a user's mistake.
    """
    options = _parser().parse_args(args)

    def work() -> None:
        said = options.work(options)
        if options.command != 'errors':  # which writes the page itself
            said += f', {look_page.refresh(Path(options.out))}'
        print(said)

    return mm_config.run(f'look.py {options.command}', work)


def _side_by_side(options: argparse.Namespace) -> str:
    """Draw what each run finds; what was written."""
    predict.check_threshold(options.score_threshold)
    predict.device(options.device)
    picture = Path(options.picture)
    look_maps.read(picture).close()
    runs = {Path(run): (_config(Path(run)), mm_config.best_checkpoint(Path(run))) for run in options.runs}
    times = Counter(run.resolve().name for run in runs)
    path = look_maps.place(options.out, f'side_by_side_{picture.stem}.png', picture)
    drawn: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for run, (config, checkpoint) in runs.items():
            model = predict.Predictor(
                str(config), {}, str(checkpoint), options.device, threshold=options.score_threshold
            )
            one = Path(folder, 'drawn.png')
            model.draw(picture, model.sample(picture), one)
            name = run.resolve().name
            with look_maps.read(one) as image:
                drawn[name if times[name] == 1 else str(run)] = image.convert('RGB')
    rows, columns = look_maps.grid(len(drawn), 3)
    first = next(iter(drawn.values()))
    width = min(max(5.0, first.width / plots.DPI), 10.0)  # as many pixels as were drawn, within reason
    height = width * first.height / first.width + 0.4
    with plots.subplots(str(path), rows, columns, figsize=(width * columns, height * rows), squeeze=False) as axes:
        for axis in axes.flat:
            axis.axis('off')
        for axis, (name, image) in zip(axes.flat, drawn.items(), strict=False):
            look_maps.panel(axis, image, name)
    return f'what {len(drawn)} runs find in {picture.name} is in {path}'


def _config(run: Path) -> Path:
    """The config that a run left in its folder, the newest if there are several."""
    if not run.is_dir():
        raise ValueError(f'--runs: there is no folder {run}')
    found = sorted(run.glob('*.py'), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ValueError(f'--runs: {run} must hold the config (.py) of a training, but holds none')
    return found[-1]


if __name__ == '__main__':
    sys.exit(main())
