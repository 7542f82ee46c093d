"""Train a detector, segmentor or classifier from a config file.

python tools/train.py configs/detection/retinanet_lsnet_t_fpn_bccd.py
python tools/train.py CONFIG --backbone raft_mlp_s --init official.pth    # the same with another backbone
python tools/train.py CONFIG --resume                      # go on from the last checkpoint of the work folder
torchrun --nproc-per-node 2 tools/train.py CONFIG --launcher pytorch
"""

import ast
import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

try:
    from tools import data_checks, mm_config
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import data_checks
    import mm_config


def _parser() -> 'mm_config.Parser':
    parser = mm_config.Parser('train.py', 'Train a detector, segmentor or classifier.')
    parser.add_work_dir()
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint, or without a path from the last one in the work folder',
    )
    parser.add_argument(
        '--backbone', metavar='NAME', help='another backbone than the one of the config, of any name of timm'
    )
    parser.add_argument('--init', metavar='CHECKPOINT', help='weights that the --backbone starts from')
    parser.add_argument('--amp', action='store_true', help='mixed precision (needs a GPU)')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate with the batch over all processes'
    )
    parser.add_check()
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
    return mm_config.run('train.py', lambda: _train(options))


def _train(options) -> None:
    config = _load_config(options)
    if config.get('resume'):
        options.resume = options.resume or config.get('load_from') or 'auto'
    dumped = config.get('work_dir')
    mm_config.set_work_dir(config, options.config, options.work_dir, options.backbone)
    _check_own_config(Path(options.config), Path(config.work_dir), dumped)
    _check_unused(Path(config.work_dir), options.resume)
    _check_settings(config)
    check_data(config, options, 'train_dataloader', 'val_dataloader')
    mm_config.prepare_devices(config, options.launcher, options.local_rank)
    _keep_files_whole(config)
    _make_repeatable(config)
    if options.amp:
        _use_amp(config)
    if options.auto_scale_lr:
        _scale_rate(config)
    if options.resume:
        _resume(config, options.resume)
    elif config.get('load_from'):
        config.load_from = _fetched(config.load_from)
        _check_start(config, config.load_from)
    try:
        with _alone(Path(config.work_dir), options.launcher):
            _runner(config).train()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ValueError(_full_disk(Path(config.work_dir))) from error


def _load_config(options):
    """The config; for a training that goes on and whose --init is gone, the whole one that its folder holds."""
    if options.resume and options.init and not Path(options.init).is_file():
        config = mm_config.load_config(options.config, {})
        mm_config.set_work_dir(config, options.config, options.work_dir, options.backbone)
        folder = Path(config.work_dir) if options.resume == 'auto' else Path(options.resume).parent
        written = folder / Path(options.config).name
        if written.is_file() and mm_config.last_checkpoint(folder):
            print(f'train.py: there is no {options.init} any more, the config is {written}', file=sys.stderr)
            return mm_config.load_config(str(written), options.cfg_options)
    return mm_config.load_config(options.config, options.cfg_options, options.backbone, options.init)


def _check_own_config(path: Path, folder: Path, dumped: str | None) -> None:
    """The runner writes the whole config into the work folder: not over one that a person wrote.

    Args:
        path: Of the config.
        folder: Where the training is to go.
        dumped: What the config names as its work folder; the runner writes that.
    """
    written = folder / path.name
    by_hand = dumped is None or Path(dumped).name != folder.resolve().name
    if by_hand and written.is_file() and written.samefile(path):
        raise ValueError(
            f'--work-dir must not be the folder of the config, since the whole config is written there and {path} '
            'would be lost: name another folder'
        )


def _check_settings(config) -> None:
    """What mmengine passes over, or meets in the middle of a training."""
    from mmengine.registry import OPTIMIZERS

    loop, wrapper = config.get('train_cfg') or {}, config.get('optim_wrapper') or {}
    counts = {f'train_cfg.{key}': loop.get(key) for key in ('max_epochs', 'max_iters', 'val_interval')}
    counts['optim_wrapper.accumulative_counts'] = wrapper.get('accumulative_counts')
    for key, value in counts.items():
        if value is not None and not (isinstance(value, (int, float)) and value >= 1 and value % 1 == 0):
            raise ValueError(f'{key} must be a whole number from 1 on, but is {value!r}')
    kind = (wrapper.get('optimizer') or {}).get('type')
    with OPTIMIZERS.switch_scope_and_registry(config.get('default_scope')) as registry:
        if isinstance(kind, str) and registry.get(kind) is None:
            raise ValueError(f'optim_wrapper.optimizer.type must be an optimizer that mmengine knows, but is {kind}')


def _check_unused(folder: Path, resumed: str | None) -> None:
    """A training must not write over another one."""
    last = mm_config.last_checkpoint(folder) or next(folder.glob('best_*.pth'), None)
    own = resumed == 'auto' or (resumed and Path(resumed).resolve().parent == folder.resolve())
    if last is not None and not own:
        raise ValueError(
            f'--work-dir {folder} must hold no other training, but holds {last.name}: go on from it with --resume, '
            'name another folder, or remove this one'
        )


_PLACES = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}


@contextlib.contextmanager
def _alone(folder: Path, launcher: str) -> Iterator[None]:
    """Hold the folder until the block or the process ends: two trainings would write over each other's files."""
    import fcntl

    if os.environ.get(_PLACES.get(launcher, ''), '0') != '0':  # the first process holds it
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / '.training').open('w') as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise ValueError(
                f'--work-dir {folder} must hold no other training, but one is running there: wait for its end, or name '
                'another folder'
            ) from error
        except OSError:  # a file system without locks
            pass
        yield


def _runner(config):
    """mmengine's runner, or the one that the config names, as `FlexibleRunner` with an FSDP strategy."""
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    return RUNNERS.build(config) if config.get('runner_type') else Runner.from_cfg(config)


def check_data(config, options, *loaders: str) -> None:
    """All that can be known of the data of these loaders before a training."""
    if options.no_check and options.unreadable == 'skip':
        raise ValueError('--unreadable skip needs the check that --no-check leaves out: give one of them')
    data_checks.check_folders(config, *loaders)
    data_checks.check_annotations(config, *loaders)
    data_checks.check_evaluators(config, *(name for name in loaders if name != 'train_dataloader'))
    if not options.no_check:
        data_checks.check_pictures(config, options.unreadable, loaders)


def _full_disk(folder: Path) -> str:
    last = mm_config.last_checkpoint(folder)
    if last is None:
        return f'the disk of {folder} is full and no checkpoint is written yet: make room and start again'
    return (
        f'the disk of {folder} is full; the last whole checkpoint is {last}: make room and go on from it with the same '
        'command and --resume'
    )


def _make_repeatable(config) -> None:
    """A resumed training must end as one that was never stopped: see `ResumeExactHook`."""
    hooks = config.get('custom_hooks') or []
    if not any(isinstance(hook, dict) and hook.get('type') == 'ResumeExactHook' for hook in hooks):
        config.custom_hooks = [*hooks, dict(type='ResumeExactHook')]


def _keep_files_whole(config) -> None:
    """A crash must cost no checkpoint: write beside and rename, and keep the last and best until the next is whole."""
    hook = config.setdefault('default_hooks', {}).setdefault('checkpoint', {'type': 'CheckpointHook'})
    for part in (*config.default_hooks.values(), *(config.get('custom_hooks') or ())):
        if isinstance(part, dict) and part.get('type') in ('CheckpointHook', 'EarlyStoppingHook'):
            part['type'] = f'Resumable{part["type"]}'
    if hook.get('backend_args') is None:
        hook['backend_args'] = {'backend': 'whole_file'}
    if hook.get('max_keep_ckpts', -1) == 1:
        raise ValueError(
            'default_hooks.checkpoint.max_keep_ckpts must be at least 2 (or -1 for all): with 1 the only checkpoint is '
            'removed before the next one is written'
        )


def _use_amp(config) -> None:
    import torch

    if not torch.cuda.is_available():
        raise ValueError('--amp needs a GPU, and torch finds none: leave it out')
    wrapper = config.optim_wrapper
    mixed = {'OptimWrapper': 'AmpOptimWrapper', 'AdaptiveClipOptimWrapper': 'AdaptiveClipAmpOptimWrapper'}
    name = wrapper.get('type', 'OptimWrapper')
    if name not in {*mixed, *mixed.values()}:
        raise ValueError(f'--amp needs optim_wrapper.type {" or ".join(mixed)}, the config has {name}')
    wrapper.type = mixed.get(name, name)
    wrapper.setdefault('loss_scale', 'dynamic')


def _scale_rate(config) -> None:
    if not (config.get('auto_scale_lr') or {}).get('base_batch_size'):
        raise ValueError('--auto-scale-lr needs auto_scale_lr.base_batch_size, the batch that the rate was chosen for')
    config.auto_scale_lr.enable = True


def _shapes(config) -> dict:
    """Name of each weight of a config's model -> its shape."""
    import torch

    from backbones.mm import build_model

    try:
        with torch.device('meta'):
            model = build_model(config)
    except (RuntimeError, NotImplementedError):  # some networks of other packages ask for values as they are made
        model = build_model(config)
    return {key: value.shape for key, value in model.state_dict().items()}


def _fetched(path: str) -> str:
    """The file of an address, which torch keeps in its cache; its name may end in the start of its hash."""
    if '://' not in path:
        return path
    if not path.startswith(('http://', 'https://')):
        raise ValueError(
            f'load_from must be a file or an address of http or https, but is {path}: fetch the file first'
        )
    import torch

    file = Path(torch.hub.get_dir(), 'checkpoints', Path(path.partition('?')[0]).name)
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        known = re.search(r'-([0-9a-f]{8,})$', file.stem)
        try:
            torch.hub.download_url_to_file(path, str(file), known and known[1])
        except (OSError, RuntimeError) as error:  # no such address; another hash
            raise ValueError(f'load_from: {path} could not be fetched: {error}') from error
    return str(file)


def _check_start(config, path: str) -> None:
    """mmengine would run what the file holds if it is no plain one, and start at random without a word."""
    from backbones.mm import read_checkpoint

    file = read_checkpoint(path)
    if Path(path).suffix == '.safetensors':
        raise ValueError(f'load_from: mmengine reads .pth files alone, not {path}: save its tensors by torch.save')
    given = {key.removeprefix('module.'): value for key, value in file.get('state_dict', file).items()}
    wanted = _shapes(config)
    fitting = sum(getattr(given.get(key), 'shape', None) == shape for key, shape in wanted.items())
    if not fitting:
        raise ValueError(f'load_from: {path} must hold weights of the model of this config, but holds none of them')
    if fitting < len(wanted):
        print(
            f'train.py: load_from: {path} holds {fitting} of the {len(wanted)} weights of this model, the others start '
            'anew',
            file=sys.stderr,
        )


def _check_same_model(config, path, state) -> None:
    wanted = _shapes(config)
    given = {key: value.shape for key, value in state.items()}
    other = sorted(key for key in wanted.keys() | given.keys() if wanted.get(key) != given.get(key))
    if other:
        raise ValueError(
            f'--resume: {path} must be of the model of this config, but {len(other)} weights are not ({other[0]}, '
            '...): give the config, --backbone and --cfg-options that it was trained with'
        )


def _resume(config, source: str) -> None:
    """Check the checkpoint before the runner reads it, since mmengine would fall back to unsafe unpickling."""
    from backbones.mm import drop_start, read_checkpoint

    path = mm_config.last_checkpoint(Path(config.work_dir)) if source == 'auto' else source
    if path is None:
        print(f'train.py: {config.work_dir} holds no checkpoint yet, the training starts anew', file=sys.stderr)
        return
    checkpoint = read_checkpoint(path)
    if not {'state_dict', 'optimizer', 'message_hub'} <= checkpoint.keys():
        raise ValueError(
            f'--resume: {path} holds weights alone and no state of a training; set load_from to start from it'
        )
    if 'config' in checkpoint['meta']:  # mmengine writes `cfg`, and runs this one
        raise ValueError(f'--resume: {path} holds a config that would be run: give a checkpoint that mmengine wrote')
    drop_start(config.model)
    if not config.get('runner_type'):  # a strategy may keep its weights in parts
        _check_same_model(config, path, checkpoint['state_dict'])
    _say_what_stays(config, checkpoint['meta'].get('cfg', ''))
    config.resume, config.load_from = True, str(path)
    randomness = config.setdefault('randomness', {})
    if randomness.get('seed') is None:  # drawn when the training began; the order of the pictures hangs on it
        randomness['seed'] = checkpoint['meta']['seed']


def _say_what_stays(config, before: str) -> None:
    """A resumed training goes on with the rates, decays and schedule of its checkpoint, whatever the config says.

    Args:
        config: Of the training that goes on.
        before: Text of the config that the checkpoint was written with; it is not run.
    """
    old, new = _assignments(before), _assignments(config.pretty_text)
    keys = ('optim_wrapper.constructor', 'optim_wrapper.optimizer', 'optim_wrapper.paramwise_cfg', 'param_scheduler')
    changed = [key for key in keys if old and new and old.get(key) != new.get(key)]
    if changed:
        print(
            f'train.py: --resume goes on with the optimizer and schedule of the checkpoint; what the config changes in '
            f'{", ".join(changed)} has no effect (load_from starts anew from its weights)',
            file=sys.stderr,
        )


def _assignments(text: str) -> dict[str, str]:
    """Name -> syntax of what is set in a config, of the optimizer's also key by key; nothing where that is no code."""
    found = {}
    try:
        lines = ast.parse(text).body
    except SyntaxError:  # a config may hold objects
        return found
    for line in lines:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            name = line.targets[0].id
            found[name] = ast.dump(line.value)
            if isinstance(line.value, ast.Call):
                found.update({f'{name}.{word.arg}': ast.dump(word.value) for word in line.value.keywords})
    return found


if __name__ == '__main__':
    sys.exit(main())
