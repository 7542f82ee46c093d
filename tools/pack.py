"""Pack the model of a training checkpoint into a small safetensors file: matrices and kernels in half precision.

    python tools/pack.py CONFIG work_dirs/NAME/best_coco_bbox_mAP_epoch_90.pth checkpoints/NAME.safetensors

A training with averaged weights (EMAHook) stores the averaged ones as its model, so they are what is packed.
"""

import json
import sys
from pathlib import Path

try:
    from tools import files, mm_config
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import files  # type: ignore[no-redef]
    import mm_config  # type: ignore[no-redef]


def _parser() -> 'mm_config.Parser':
    parser = mm_config.Parser('pack.py', 'Pack the model of a training checkpoint into a small safetensors file.')
    parser.add_argument('checkpoint', help='.pth of a training')
    parser.add_argument('out', help='file to write, .safetensors')
    parser.add_argument('--metrics', metavar='JSON', help='metrics file of test.py to keep in the header')
    parser.add_argument('--licence', default='Apache-2.0', help='licence to note in the header (default: Apache-2.0)')
    return parser


def main(args: list[str] | None = None) -> int:
    """Run the tool.

    Args:
        args: Command line without the program's name, `sys.argv` by default.

    Returns:
        Exit code: 0, or 2 after a user's mistake.
    """
    options = _parser().parse_args(args)
    return mm_config.run('pack.py', lambda: _pack(options))


def _pack(options) -> None:
    from backbones.checkpoints import save_checkpoint
    from backbones.mm import build_model

    if Path(options.out).suffix != '.safetensors':
        raise ValueError(f'the file to write must end in .safetensors, got {options.out}')
    files.check(options.out, 'the file to write')
    if Path(options.out).resolve() == Path(options.checkpoint).resolve():
        raise ValueError(f'the file to write must not be the checkpoint itself, {options.out}: name another')
    metrics = _metrics(options.metrics) if options.metrics else None
    config = mm_config.load_config(options.config, options.cfg_options)
    model = build_model(config, options.checkpoint)  # strict: the file is whole and belongs to the config
    # Statistics and other vectors are few and some reach beyond the range of half precision.
    state = {
        key: value.half() if value.is_floating_point() and value.ndim > 1 else value
        for key, value in model.state_dict().items()
    }
    dataset = (config.get('test_dataloader') or config.get('train_dataloader') or {}).get('dataset')
    metadata = {
        'config': Path(options.config).name,
        'classes': json.dumps(mm_config.class_names(config, dataset) if dataset else []),
        'licence': options.licence,
    }
    if metrics:
        metadata['metrics'] = metrics
    digest = save_checkpoint(state, options.out, metadata)
    print(f'{options.out}: {Path(options.out).stat().st_size / 1e6:.1f} MB, SHA-256 {digest}')


def _metrics(path: str) -> str:
    """What a metrics file holds, in one line."""
    if not Path(path).is_file():
        raise ValueError(f'--metrics: there is no file {path}: give the one that test.py --out wrote')
    try:
        return json.dumps(json.loads(Path(path).read_text(encoding='utf-8')))
    except ValueError as error:
        raise ValueError(
            f'--metrics: {path} must be JSON, but is not ({error}): give the one that test.py --out wrote'
        ) from error


if __name__ == '__main__':
    sys.exit(main())
