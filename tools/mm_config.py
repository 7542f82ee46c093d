"""What `train.py`, `test.py` and `predict.py` share: configs read and checked, a user's mistake said in a sentence."""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from tools import swap
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import swap  # type: ignore[no-redef]

if TYPE_CHECKING:  # they take seconds to import, and `--help` needs none of them
    from mmengine.config import Config, ConfigDict

# What a runner reads beyond the keys that a config happens to have.
_RUNNER_KEYS = {
    *(
        'auto_scale_lr',
        'custom_hooks',
        'custom_imports',
        'data_preprocessor',
        'default_hooks',
        'default_scope',
        'env_cfg',
    ),
    *('experiment_name', 'find_unused_parameters', 'launcher', 'load_from', 'log_level', 'log_processor', 'model'),
    *(
        'model_wrapper_cfg',
        'optim_wrapper',
        'param_scheduler',
        'randomness',
        'resume',
        'runner_type',
        'strategy',
        'sync_bn',
        'visualizer',
        'work_dir',
    ),
    *(f'{split}_{part}' for split in ('train', 'val', 'test') for part in ('cfg', 'dataloader', 'evaluator')),
} - {'train_evaluator'}


class _Options(argparse.Action):
    """mmengine's own action."""

    def __call__(self, *args) -> None:
        from mmengine.config import DictAction

        DictAction(self.option_strings, self.dest, nargs=self.nargs)(*args)


def add_config(parser: argparse.ArgumentParser) -> None:
    """A config file and changes to it."""
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default={},
        action=_Options,
        metavar='KEY=VALUE',
        help='change settings of the config, e.g. train_dataloader.batch_size=4 model.backbone.frozen_stages=1',
    )


class Parser(argparse.ArgumentParser):
    """Arguments that all tools have."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description)
        add_config(self)

    def add_work_dir(self) -> None:
        self.add_argument('--work-dir', help='where logs and checkpoints go (default: work_dirs/NAME_OF_CONFIG)')

    def add_launcher(self) -> None:
        self.add_argument(
            '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='who starts the processes'
        )
        self.add_argument('--local-rank', '--local_rank', type=int, default=0, help="given by torch's older launchers")

    def add_check(self) -> None:
        self.add_argument(
            '--unreadable',
            choices=['refuse', 'skip'],
            default='refuse',
            help='what to do with pictures of the training that cannot be read; those of other splits are refused',
        )
        self.add_argument(
            '--no-check',
            action='store_true',
            help='open no picture beforehand, for data sets where that takes too long',
        )


def run(prog: str, work: Callable[[], None]) -> int:
    """Do the work; 0, or 2 after a user's mistake, which is said in one sentence on stderr."""
    try:
        work()
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        print(f'{prog}: {sentence}', file=sys.stderr)
        return 2
    finally:
        leave_processes()
    return 0


def explain(error: Exception) -> str | None:
    """One sentence for an error that a user can cause, None for one that only a fault of the code can."""
    text = str(error).strip('"\'') if isinstance(error, KeyError) else str(error)  # which Python quotes
    text = ' '.join(text.split())
    text = re.sub(r'(class `\w+` in [\w./]+: )+', lambda match: match[1], text)  # the innermost of mmengine's wrappings
    mistake = (
        isinstance(error, (ValueError, ImportError, OSError, SyntaxError))
        or (isinstance(error, TypeError) and re.search(r'unexpected keyword argument|missing \d+ required', text))
        or (isinstance(error, KeyError) and 'registry' in text)
        or (isinstance(error, AssertionError) and 'num_classes' in text)
    )
    if not mistake:
        return None
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f'the module {error.name!r} is missing: install the extra `mm` of this package'
    if isinstance(error, KeyError):
        text = text.split('. More details')[0]
    return text or type(error).__name__


def load_config(
    path: str, options: dict[str, Any], backbone: str | None = None, weights: str | None = None
) -> 'Config':
    """Read a config file, put in another `--backbone` with its `--init` if there is one, and apply `--cfg-options`.

    Raises:
        ValueError: The file is missing or is no config, or an option names a key that nothing would read.
    """
    if not Path(path).is_file():
        raise ValueError(f'there is no config file {path}')
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    import backbones.mm  # noqa: F401 (registers our classes, also for configs that forget custom_imports)

    try:
        config = Config.fromfile(path)
    except (SyntaxError, NameError, AttributeError, KeyError, TypeError, OSError) as error:
        raise ValueError(f'{path} is not a config: {error}') from error
    if 'model' not in config:
        raise ValueError(f'{path} is not a config of a model: it sets no `model`')
    init_default_scope(config.get('default_scope', 'mmengine'))
    if weights and not backbone:
        raise ValueError('--init gives the weights of a --backbone: name one')
    if weights and not Path(weights).is_file():
        raise ValueError(f'--init: there is no file {weights}')
    if backbone:
        swap.swap_backbone(config, backbone, weights)
    own = (config.get('optim_wrapper') or {}).get('constructor')
    for key, value in options.items():
        _check_key(config, key, value, options.get('optim_wrapper.constructor', own))
    config.merge_from_dict(options)
    return config


def _check_key(config: 'Config', key: str, value: Any, constructor: str | None) -> None:
    """Refuse a key that would be set and never read, and a word in the place of a number or of settings.

    A key may be new only directly below a `type`, whose class checks its arguments, or at the top if a runner reads it.
    Of the constructors of optimizers ours checks them, mmengine's does not.
    """
    from mmengine.config import Config

    node: Any = config
    parts = key.split('.')
    checked = [['optim_wrapper']]  # mmengine gives it a type where a config does not
    checked += [['optim_wrapper', 'paramwise_cfg']] * (constructor == 'TimmLayerDecayConstructor')
    for depth, part in enumerate(parts):
        has_type = isinstance(node, dict) and ('type' in node or parts[:depth] in checked)
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise ValueError(f'--cfg-options: {key}: {".".join(parts[:depth])} has the items 0 to {len(node) - 1}')
            node = node[int(part)]
        elif isinstance(node, (dict, Config)) and part in node:
            node = node[part]
        elif part in _RUNNER_KEYS if isinstance(node, Config) else has_type:
            return
        else:
            known = [str(name) for name in node] if isinstance(node, (dict, Config)) else []
            near = difflib.get_close_matches(part, [*known, *(_RUNNER_KEYS if depth == 0 else ())], n=1)
            where = '.'.join(parts[:depth]) or 'the config'
            hint = f'did you mean {near[0]}?' if near else f'it has {", ".join(sorted(known)) or "no keys"}.'
            raise ValueError(f'--cfg-options: {key}: there is no key {part!r} in {where}; {hint}')
    number = isinstance(node, (int, float)) and not isinstance(node, bool)
    first = node[0] if isinstance(node, (list, tuple)) and node else node
    if isinstance(value, str) and (number or (isinstance(first, dict) and 'type' in first)):
        raise ValueError(f'--cfg-options: {key} must be {"a number" if number else "settings"}, but is {value!r}')


def class_names(config: 'Config', dataset: 'ConfigDict') -> list[str]:
    """Classes of a dataset's config: its own, or those that its type defines."""
    own = dataset.get('classes') or meta(config, dataset, 'classes')
    return [own] if isinstance(own, str) else list(own or ())


def meta(config: 'Config', dataset: 'ConfigDict', key: str) -> Any:
    """What a dataset's config says of its classes, or else its type; None if neither does."""
    own = (dataset.get('metainfo') or {}).get(key)
    if own is not None:
        return own
    from mmengine.registry import DATASETS

    with DATASETS.switch_scope_and_registry(config.get('default_scope')) as registry:
        return (getattr(registry.get(dataset.type), 'METAINFO', None) or {}).get(key)


def prepare_devices(config: 'Config', launcher: str, local_rank: int) -> None:
    """Settings for several processes; without a GPU they talk over gloo and the models stay on the CPU."""
    import torch

    if launcher == 'none' and int(os.environ.get('WORLD_SIZE', '1')) > 1:  # each would write over the others' files
        raise ValueError(
            f'torchrun started {os.environ["WORLD_SIZE"]} processes, which must be told of each other: add --launcher '
            'pytorch'
        )
    config.launcher = launcher
    os.environ.setdefault('LOCAL_RANK', str(local_rank))
    if launcher == 'none' or torch.cuda.is_available():
        return
    if launcher != 'pytorch':
        raise ValueError(f'--launcher {launcher} needs GPUs; without one start the processes with torchrun')
    # Joined here, since mmengine would first ask for a GPU.
    torch.distributed.init_process_group('gloo')
    config.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=config.get('find_unused_parameters', False),
    )


def leave_processes() -> None:
    """Part from the other processes, if there are any."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def set_work_dir(config: 'Config', path: str, work_dir: str | None, backbone: str | None = None) -> None:
    name = Path(path).stem + (f'_{backbone}' if backbone else '')
    config.work_dir = work_dir or config.get('work_dir') or os.path.join('work_dirs', name)


def check_counts(options: argparse.Namespace, *names: str) -> None:
    """Refuse numbers below 1."""
    for name in names:
        if getattr(options, name) < 1:
            raise ValueError(f'--{name} must be at least 1, but is {getattr(options, name)}')


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of a work folder that mmengine noted last, or if that is no file the one of the highest number."""
    note = folder / 'last_checkpoint'
    noted = Path(note.read_text(encoding='utf-8').strip() or '.') if note.is_file() else folder
    for path in (noted, folder / noted.name):  # the folder may have moved since
        if path.is_file():
            return path
    matches = {path: re.fullmatch(r'(?:epoch|iter)_(\d+)', path.stem) for path in folder.glob('*.pth')}
    found = [(int(match[1]), path) for path, match in matches.items() if match]
    return max(found)[1] if found else None


def best_checkpoint(folder: Path) -> Path:
    """The checkpoint of a work folder that was best on the validation split, or the last one.

    Raises:
        ValueError: There is none.
    """
    found = sorted(folder.glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
    last = last_checkpoint(folder)
    if not found and last is None:
        raise ValueError(f'{folder} must hold a checkpoint, but holds none')
    return found[-1] if found else last  # type: ignore[return-value]
