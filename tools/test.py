"""Measure a checkpoint on the test split of a config.

name=retinanet_lsnet_t_fpn_bccd
python tools/test.py configs/detection/$name.py checkpoints/$name.safetensors
python tools/test.py CONFIG CHECKPOINT --out metrics.json
"""

import json
import sys
from pathlib import Path

try:
    from tools import data_checks, files, mm_config
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import data_checks
    import files  # type: ignore[no-redef]
    import mm_config


def _parser() -> 'mm_config.Parser':
    parser = mm_config.Parser('test.py', 'Measure a checkpoint on the test split of a config.')
    parser.add_argument('checkpoint', help='.pth of a training, or .safetensors')
    parser.add_work_dir()
    parser.add_argument(
        '--out', metavar='FILE', help='write the metrics (.json) or the predictions (.pkl) to this file'
    )
    parser.add_argument(
        '--no-check', action='store_true', help='open no picture beforehand, for data sets where that takes too long'
    )
    parser.add_launcher()
    return parser


def main(args: list[str] | None = None) -> int:
    """Run the tool.

    Args:
        args: Command line without the program's name, `sys.argv` by default.

    Returns:
        Exit code: 0, or 2 after a user's mistake.
    """
    options = _parser().parse_args(args)
    return mm_config.run('test.py', lambda: _test(options))


def _test(options) -> None:
    from mmengine.runner import Runner

    from backbones.mm import drop_start, load_weights

    suffix = Path(options.out).suffix if options.out else ''
    if suffix not in ('', '.json', '.pkl'):
        raise ValueError(f'--out must end in .json (metrics) or .pkl (predictions), got {options.out}')
    if options.out:
        files.check(options.out, '--out')
    if not Path(options.checkpoint).is_file():
        raise ValueError(f'there is no checkpoint {options.checkpoint}')
    config = mm_config.load_config(options.config, options.cfg_options)
    if config.get('test_dataloader') is None:
        raise ValueError(f'{options.config} sets no test_dataloader, there is nothing to measure on')
    mm_config.set_work_dir(config, options.config, options.work_dir)
    data_checks.check_folders(config, 'test_dataloader')
    data_checks.check_annotations(config, 'test_dataloader')
    data_checks.check_evaluators(config, 'test_dataloader')
    if not options.no_check:
        data_checks.check_pictures(config, 'refuse', ['test_dataloader'])
    mm_config.prepare_devices(config, options.launcher, options.local_rank)
    config.load_from, config.resume = None, False  # mmengine's reader would fall back to unsafe unpickling
    drop_start(config.model)
    # The averaged weights are what a training stores as its model: nothing is left to average.
    config.custom_hooks = [hook for hook in config.get('custom_hooks') or [] if hook['type'] != 'EMAHook']
    if suffix == '.pkl':
        dump = {'type': 'DumpResults', 'out_file_path': options.out}
        config.test_evaluator = [*_listed(config.test_evaluator), dump]
    runner = Runner.from_cfg(_renamed(config))
    load_weights(getattr(runner.model, 'module', runner.model), options.checkpoint)
    metrics = runner.test()
    if suffix == '.json' and runner.rank == 0:
        text = json.dumps({key: float(value) for key, value in metrics.items()}, indent=1)
        files.write(options.out, f'{text}\n')


def _renamed(config):
    """The runner writes its config into the work folder: not over that of the training, which has all its hooks."""
    from mmengine.config import Config

    name = f'{Path(config.filename).stem}_test.py'
    return Config(config.to_dict(), cfg_text=config.text, filename=name, format_python_code=False)


def _listed(evaluator) -> list:
    return list(evaluator) if isinstance(evaluator, (list, tuple)) else [evaluator]


if __name__ == '__main__':
    sys.exit(main())
