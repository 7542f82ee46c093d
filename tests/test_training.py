"""What a training bears: bad data, a full disk, being stopped; and mmengine's parts through `tools/train.py`."""

import errno
import functools
import hashlib
import http.server
import tempfile
import threading
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmpretrain')

import mm_runs
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import ValLoop

from backbones.mm import WholeFileBackend, build_model, read_checkpoint
from tools import train as train_tool

DETECTION, SEGMENTATION, CLASSIFICATION = (
    mm_runs.RUNNABLE[task] for task in ('detection', 'segmentation', 'classification')
)


pytestmark = pytest.mark.usefixtures('in_root')


def _same(one, other, where='') -> None:
    """Hold two nests of tensors and numbers against each other, bit for bit."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            _same(one[key], other[key], f'{where}.{key}')
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for i, pair in enumerate(zip(one, other, strict=True)):
            _same(*pair, f'{where}.{i}')
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


def _hold_together(one, other, folder) -> None:
    one, other = read_checkpoint(folder / one), read_checkpoint(folder / other)
    for part in ('state_dict', 'optimizer', 'param_schedulers', 'ema_state_dict'):
        _same(one.get(part), other.get(part), part)


# Random numbers of every kind: a shuffle, augmentations, stochastic depth, the mixing of pictures.
RANDOM = """
model = dict(drop_path_rate=0.3, train_cfg=dict(augments=dict(type='Mixup', alpha=0.8)))
custom_hooks = [dict(type='ClassifierEMAHook', momentum=0.1, update_buffers=True, priority='ABOVE_NORMAL')]
"""


def _config(folder, base: str, text: str = ''):
    """A config of the project with a few lines more."""
    path = folder / 'own.py'
    path.write_text(f'_base_ = [{str(mm_runs.ROOT / base)!r}]\n{text}')
    return str(path)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Folder of pictures with a training of two epochs that was never stopped."""
    folder = tmp_path_factory.mktemp('whole')
    mm_runs.make_cifar10(folder)
    assert mm_runs.train(_config(folder, CLASSIFICATION, RANDOM), folder, 2, 'whole', extra=['randomness.seed=5']) == 0
    return folder


def test_a_resumed_training_ends_as_one_that_was_never_stopped(whole):
    config = str(whole / 'own.py')
    assert mm_runs.train(config, whole, 1, 'parts', extra=['randomness.seed=5']) == 0
    _hold_together('whole/epoch_1.pth', 'parts/epoch_1.pth', whole)  # two trainings of one seed
    # Without a seed, since it is the one that the training began with.
    assert mm_runs.train(config, whole, 2, 'parts', '--resume', extra=['randomness.seed=None']) == 0
    _hold_together('whole/epoch_2.pth', 'parts/epoch_2.pth', whole)


def test_another_seed_gives_another_result(whole):
    assert mm_runs.train(str(whole / 'own.py'), whole, 1, 'other', extra=['randomness.seed=6']) == 0
    with pytest.raises(AssertionError, match='state_dict'):
        _hold_together('whole/epoch_1.pth', 'other/epoch_1.pth', whole)


def test_a_training_is_never_written_over_nor_taken_for_another(whole, capsys):
    config, before = str(whole / 'own.py'), (whole / 'whole' / 'epoch_2.pth').read_bytes()
    assert mm_runs.train(config, whole, 1, 'whole') == 2
    assert 'must hold no other training, but holds epoch_2.pth: go on from it with --resume' in mm_runs.said(capsys)
    assert mm_runs.train(config, whole, 3, 'whole', '--resume', extra=['model.num_classes=11']) == 2
    assert 'must be of the model of this config, but 2 weights are not (head.' in mm_runs.said(capsys)
    assert (whole / 'whole' / 'epoch_2.pth').read_bytes() == before


def test_what_a_resumed_training_does_not_follow_is_said(whole, capsys):
    """Its rates, decays and schedule are those of the checkpoint."""
    config = str(whole / 'own.py')
    assert mm_runs.train(config, whole, 1, 'rates', extra=['randomness.seed=5']) == 0
    changes = ['optim_wrapper.optimizer.lr=0.5', 'param_scheduler.0.end=7', 'randomness.seed=5']
    assert mm_runs.train(config, whole, 2, 'rates', '--resume', extra=changes[2:]) == 0
    assert 'has no effect' not in capsys.readouterr().err
    first = str(whole / 'rates' / 'epoch_1.pth')
    assert mm_runs.train(config, whole, 2, 'rates', '--resume', first, extra=changes) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('train.py: --resume')]
    assert len(lines) == 1 and 'changes in optim_wrapper.optimizer, param_scheduler has no effect' in lines[0]
    _hold_together('whole/epoch_2.pth', 'rates/epoch_2.pth', whole)


def test_a_config_is_never_written_over(cifar, capsys):
    config = _config(cifar, CLASSIFICATION, '# notes\n')
    text = Path(config).read_text()
    assert mm_runs.train(config, cifar, 1, '.') == 2
    assert 'must not be the folder of the config' in mm_runs.said(capsys) and Path(config).read_text() == text
    assert mm_runs.train(config, cifar, 1, 'work') == 0
    assert mm_runs.train(cifar / 'work' / 'own.py', cifar, 2, 'work', '--resume') == 0  # written by the runner


def test_a_start_is_weights_of_this_model_or_said(whole, capsys):
    config, start = str(whole / 'own.py'), whole / 'start.pth'
    state = read_checkpoint(whole / 'whole' / 'epoch_1.pth')['state_dict']
    options = [f'load_from={start}', 'randomness.seed=5']
    for part, words in (('none', 'holds none of them'), ('', ''), ('head', 'holds {} of the {}')):
        kept = {key: value for key, value in state.items() if part == '' or (part == 'head') != ('head' in key)}
        torch.save({'state_dict': kept if part != 'none' else {'x': torch.zeros(3)}}, start)
        capsys.readouterr()
        code = mm_runs.train(config, whole, 1, f'from-{part}', extra=options)
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith('train.py: load_from')]
        assert code == (2 if part == 'none' else 0)
        assert len(said) == bool(part)
        assert all(words.format(len(kept), len(state)) in line for line in said)
    torch.save({'state_dict': Path('x')}, start)
    assert mm_runs.train(config, whole, 1, 'from-evil', extra=options) == 2
    assert 'nothing in it was run' in mm_runs.said(capsys)


def test_a_start_that_has_an_address_is_fetched_once_and_whole(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    served = tmp_path / 'served'
    served.mkdir()
    for name in (f'start-{hashlib.sha256(b"weights").hexdigest()[:8]}.pth', 'start-00000000.pth'):
        (served / name).write_bytes(b'weights')
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        right, wrong = (f'http://127.0.0.1:{server.server_port}/{path.name}' for path in sorted(served.iterdir())[::-1])
        path = Path(train_tool._fetched(right))
        assert path.read_bytes() == b'weights' and path.is_relative_to(tmp_path / 'cache')
        with pytest.raises(ValueError, match='could not be fetched: invalid hash'):
            train_tool._fetched(wrong)
        server.shutdown()
    assert train_tool._fetched(right) == str(path)
    assert train_tool._fetched('some/file.pth') == 'some/file.pth'
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_folder_with_nothing_but_the_best_checkpoint_is_taken(cifar, capsys):
    (cifar / 'work').mkdir()
    (cifar / 'work' / 'best_accuracy_top1_epoch_2.pth').touch()
    (cifar / 'other.pth').touch()
    for more in ([], ['--resume', str(cifar / 'other.pth')]):
        assert mm_runs.train(CLASSIFICATION, cifar, 1, 'work', *more) == 2
        assert 'but holds best_accuracy_top1_epoch_2.pth' in mm_runs.said(capsys)


def test_networks_that_ask_for_values_as_they_are_made_are_resumed_too():
    """As mmpretrain's own Swin does."""
    backbone = dict(type='SwinTransformer', arch='tiny')
    head = dict(type='LinearClsHead', num_classes=3, in_channels=768)
    config = Config(dict(default_scope='mmpretrain', model=dict(type='ImageClassifier', backbone=backbone, head=head)))
    state = build_model(config).state_dict()
    train_tool._check_same_model(config, 'x.pth', state)
    with pytest.raises(ValueError, match='1 weights are not'):
        train_tool._check_same_model(config, 'x.pth', {k: v for k, v in state.items() if k != 'head.fc.bias'})


# An odd number of batches for two workers: what one makes in the whole training, the other makes in a resumed one.
WORKERS = {
    'epoch': (CLASSIFICATION, ['train_dataloader.persistent_workers=True', 'train_dataloader.dataset.indices=6'], 1, 2),
    'iter': (SEGMENTATION, ['default_hooks.checkpoint.interval=1', 'train_cfg.val_interval=10'], 3, 5),
}


@pytest.mark.parametrize('unit', WORKERS)
def test_a_training_with_workers_is_resumed_as_if_it_was_never_stopped(cifar, unit):
    config, options, some, all_ = WORKERS[unit]
    config = _config(cifar, config, RANDOM if unit == 'epoch' else '')
    runs = [
        mm_runs.train_words(
            config, cifar, 2, *work, extra=[*options, 'train_dataloader.num_workers=2', f'train_cfg.max_{unit}s={n}']
        )
        for work, n in ((['whole'], all_), (['parts'], some), (['parts', '--resume'], all_))
    ]
    # In a process of their own: a loader forks, which a process full of other libraries' threads may not survive.
    process = mm_runs.start('-c', f'from tools import train\nassert not any([train.main(run) for run in {runs!r}])')
    output = process.communicate(timeout=280)[0].decode()
    assert process.returncode == 0, output
    _hold_together(f'whole/{unit}_{all_}.pth', f'parts/{unit}_{all_}.pth', cifar)


def test_a_segmentor_too_is_resumed_as_if_it_was_never_stopped(tmp_path):
    options = ['model.backbone.drop_path_rate=0.3']
    assert mm_runs.train(SEGMENTATION, tmp_path, 2, 'whole', extra=options) == 0
    assert mm_runs.train(SEGMENTATION, tmp_path, 1, 'parts', extra=options) == 0
    assert mm_runs.train(SEGMENTATION, tmp_path, 2, 'parts', '--resume', extra=options) == 0
    _hold_together('whole/iter_4.pth', 'parts/iter_4.pth', tmp_path)


BEST = """
default_hooks = dict(checkpoint=dict(save_best='accuracy/top1', max_keep_ckpts=2))
"""
# When a training is stopped: at which call, from the first on, of what.
MOMENTS = {
    'in a validation': ('val', 4),  # of the second epoch; its beginning and its end count
    'before the best is whole': ('best', 2),
    'behind it': ('epoch', 4),
    'in the last validation': ('val', 6),
}


class _Stop(BaseException):
    pass


def _train_with_scores(config, folder, work, monkeypatch, *more, stop=('', 0)) -> list[int]:
    """Train three epochs with given scores, or until a stop, which leaves the files of a kill: the epochs validated."""
    put, loop, calls, validated = WholeFileBackend.put, ValLoop.run, Counter(), []

    def count(what):
        calls[what] += 1
        if (what, calls[what]) == stop:
            raise _Stop

    def counted_put(self, obj, filepath):
        count(Path(filepath).name.partition('_')[0])
        put(self, obj, filepath)

    def scored(self, size):
        count('val')
        return {'accuracy/top1': {1: 10.0, 2: 30.0, 3: 20.0}[validated[-1]]}

    def run(self):
        validated.append(self.runner.epoch)
        count('val')
        return loop(self)

    with monkeypatch.context() as patch:
        patch.setattr(WholeFileBackend, 'put', counted_put)
        patch.setattr(Evaluator, 'evaluate', scored)
        patch.setattr(ValLoop, 'run', run)
        # trainings that begin within one second have one name otherwise, and in one process one memory of what was best
        name = f'experiment_name={work}{len(more)}'
        args = mm_runs.train_words(config, folder, 3, work, *more, extra=[name])
        if stop[0]:
            with pytest.raises(_Stop):
                train_tool.main(args)
        else:
            assert train_tool.main(args) == 0
    return validated


@pytest.fixture(scope='module')
def scored(tmp_path_factory):
    """Folder of pictures with a training whose second epoch was the best."""
    folder = tmp_path_factory.mktemp('scored')
    mm_runs.make_cifar10(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(mm_runs.ROOT)
        assert _train_with_scores(_config(folder, CLASSIFICATION, BEST), folder, 'whole', patch) == [1, 2, 3]
    return folder


@pytest.mark.parametrize('moment', MOMENTS)
def test_a_validation_that_was_cut_short_costs_neither_its_score_nor_the_best_checkpoint(scored, moment, monkeypatch):
    config, work = str(scored / 'own.py'), moment.replace(' ', '-')
    _train_with_scores(config, scored, work, monkeypatch, stop=MOMENTS[moment])
    assert list((scored / work).glob('best_*.pth'))  # one is there at any moment
    assert _train_with_scores(config, scored, work, monkeypatch, '--resume')[-1] == 3
    names = [sorted(path.name for path in (scored / run).glob('*.pth')) for run in ('whole', work)]
    assert names[0] == names[1] == ['best_accuracy_top1_epoch_2.pth', 'epoch_2.pth', 'epoch_3.pth']
    for name in names[0]:
        _hold_together(f'whole/{name}', f'{work}/{name}', scored)
    infos = [read_checkpoint(scored / run / 'epoch_3.pth')['message_hub']['runtime_info'] for run in ('whole', work)]
    assert infos[0]['best_score'] == infos[1]['best_score'] == 30.0


def test_the_best_checkpoint_of_another_folder_stays_and_that_of_a_moved_one_is_known(scored, monkeypatch):
    config, best = str(scored / 'own.py'), 'best_accuracy_top1_epoch_{}.pth'
    _train_with_scores(config, scored, 'first', monkeypatch, stop=('epoch', 3))  # behind a best first epoch
    start = str(scored / 'first' / 'epoch_1.pth')
    _train_with_scores(config, scored, 'branch', monkeypatch, '--resume', start)
    assert (scored / 'first' / best.format(1)).is_file() and (scored / 'branch' / best.format(2)).is_file()
    (scored / 'first').rename(scored / 'moved')
    _train_with_scores(config, scored, 'moved', monkeypatch, '--resume')
    assert [path.name for path in (scored / 'moved').glob('best_*')] == [best.format(2)]


def test_a_validation_that_a_checkpoint_knows_of_is_not_done_again(scored, monkeypatch):
    config = str(scored / 'own.py')
    _train_with_scores(config, scored, 'once', monkeypatch, stop=('epoch', 5))  # the second was written as the best
    assert _train_with_scores(config, scored, 'once', monkeypatch, '--resume') == [3]


def test_a_metric_that_no_validation_gives_is_named(cifar, capsys):
    options = ['default_hooks.checkpoint.save_best=accuracy/best', 'default_hooks.checkpoint.rule=greater']
    assert mm_runs.train(CLASSIFICATION, cifar, 1, 'work', extra=options) == 2
    said = mm_runs.said(capsys)
    assert 'accuracy/best' in said and 'accuracy/top1, accuracy/top5' in said
    assert read_checkpoint(cifar / 'work' / 'epoch_1.pth')


def test_a_validation_of_a_segmentor_that_was_cut_short_is_done_when_it_goes_on(tmp_path, monkeypatch):
    loop, steps = ValLoop.run, []

    def run(self):
        steps.append(self.runner.iter)
        if len(steps) == 2:
            raise _Stop
        return loop(self)

    monkeypatch.setattr(ValLoop, 'run', run)
    with pytest.raises(_Stop):
        mm_runs.train(SEGMENTATION, tmp_path, 3, 'work')
    assert mm_runs.train(SEGMENTATION, tmp_path, 3, 'work', '--resume') == 0
    assert steps == [2, 4, 4, 6]


def test_gradients_of_a_step_that_is_not_whole_are_resumed(cifar):
    """Three batches an epoch, two a step."""
    options = ['train_dataloader.dataset.indices=6', 'optim_wrapper.accumulative_counts=2']
    for work, more in (('whole', []), ('parts', ['--resume', str(cifar / 'whole' / 'epoch_1.pth')])):
        assert mm_runs.train(CLASSIFICATION, cifar, 2, work, *more, extra=options) == 0
    _hold_together('whole/epoch_2.pth', 'parts/epoch_2.pth', cifar)
    sizes = [len(read_checkpoint(cifar / f'whole/epoch_{i}.pth')['gradients']) for i in (1, 2)]
    assert sizes[0] > 0 and sizes[1] == 0


EARLY = """
default_hooks = dict(
    early_stopping=dict(
        type='EarlyStoppingHook', monitor='accuracy/top1', rule='greater', min_delta=1000.0, patience=2, strict=True
    )
)
"""


def test_gradients_are_accumulated_and_a_training_without_progress_stops(cifar):
    config = _config(cifar, CLASSIFICATION, EARLY)
    assert mm_runs.train(config, cifar, 9, 'work', extra=['optim_wrapper.accumulative_counts=2']) == 0
    epochs = sorted(int(path.stem[6:]) for path in (cifar / 'work').glob('epoch_*.pth'))
    # No score is 1000 above another: the first is the best, two more use up the patience.
    assert epochs[-1] == 3
    checkpoint = read_checkpoint(cifar / 'work' / 'epoch_3.pth')
    assert checkpoint['meta']['iter'] == 6
    assert {int(state['step']) for state in checkpoint['optimizer']['state'].values()} == {3}


def test_patience_that_was_used_up_before_a_stop_is_used_up_behind_it(cifar):
    """The first epoch is the best, so two more end it, wherever it is stopped; then it stays at its end."""
    config = _config(cifar, CLASSIFICATION, EARLY)
    for i, (epochs, more) in enumerate(((2, []), (9, ['--resume']), (9, ['--resume']))):
        name = f'experiment_name=early{i}'  # trainings of one process and second share their memory otherwise
        assert mm_runs.train(config, cifar, epochs, 'work', *more, extra=[name]) == 0
    assert max(int(path.stem[6:]) for path in (cifar / 'work').glob('epoch_*.pth')) == 3
    longer = ['default_hooks.early_stopping.patience=3', 'experiment_name=longer']
    assert mm_runs.train(config, cifar, 9, 'work', '--resume', extra=longer) == 0
    assert max(int(path.stem[6:]) for path in (cifar / 'work').glob('epoch_*.pth')) == 4


def test_a_word_that_no_optimizer_knows_is_named(cifar, capsys):
    assert mm_runs.train(CLASSIFICATION, cifar, 1, 'work', extra=['optim_wrapper.accumulativ_counts=2']) == 2
    assert 'accumulativ_counts' in mm_runs.said(capsys)


DECAY = """
optim_wrapper = dict(constructor='TimmLayerDecayConstructor', paramwise_cfg=dict(layer_decay_rate=0.5))
"""


def test_layers_have_their_own_rates(cifar):
    assert mm_runs.train(_config(cifar, CLASSIFICATION, DECAY), cifar, 1, 'work') == 0
    groups = read_checkpoint(cifar / 'work' / 'epoch_1.pth')['optimizer']['param_groups']
    scales = {group['lr_scale'] for group in groups}
    assert len(scales) > 3 and max(scales) == 1.0
    assert {0.5**i for i in range(len(scales))} == scales
    for group in groups:
        assert group['initial_lr'] == pytest.approx(1e-3 * group['lr_scale'])


# Runs of one name and second share a visualizer.
BOARD = """
experiment_name = 'board'
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='TensorboardVisBackend')])
"""


def test_curves_go_to_tensorboard(cifar):
    pytest.importorskip('tensorboard')
    assert mm_runs.train(_config(cifar, CLASSIFICATION, BOARD), cifar, 1, 'work') == 0
    assert list((cifar / 'work').rglob('events.out.tfevents*'))


def test_a_full_disk_costs_no_checkpoint(cifar, monkeypatch, capsys):
    put = WholeFileBackend.put

    def fill(self, obj, filepath):
        if 'epoch_2' in str(filepath):
            raise OSError(errno.ENOSPC, 'No space left on device')
        put(self, obj, filepath)

    monkeypatch.setattr(WholeFileBackend, 'put', fill)
    assert mm_runs.train(CLASSIFICATION, cifar, 3, 'work') == 2
    said, last = mm_runs.said(capsys), cifar / 'work' / 'epoch_1.pth'
    assert 'full' in said and str(last) in said and '--resume' in said
    assert read_checkpoint(last)['meta']['epoch'] == 1
    assert (cifar / 'work' / 'last_checkpoint').read_text() == str(last)
    monkeypatch.undo()
    monkeypatch.chdir(mm_runs.ROOT)
    with tempfile.NamedTemporaryFile(dir=cifar / 'work', prefix='.epoch_2.pth.', suffix='.part', delete=False):
        pass  # as a kill leaves it
    assert mm_runs.train(CLASSIFICATION, cifar, 2, 'work', '--resume') == 0
    assert not list((cifar / 'work').glob('.epoch*'))
    assert read_checkpoint(cifar / 'work' / 'epoch_2.pth')['meta']['iter'] == 4


def test_a_disk_that_fills_while_a_file_is_written_leaves_nothing_behind(tmp_path, monkeypatch):
    WholeFileBackend().put(b'first', tmp_path / 'x.pth')

    def full(handle):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('os.fsync', full)
    with pytest.raises(OSError, match='No space'):
        WholeFileBackend().put(b'second', tmp_path / 'x.pth')
    assert [path.name for path in tmp_path.iterdir()] == ['x.pth']
    assert (tmp_path / 'x.pth').read_bytes() == b'first'


def test_a_disk_that_is_full_before_the_first_checkpoint(cifar, monkeypatch, capsys):
    def full(self, obj, filepath):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(WholeFileBackend, 'put', full)
    assert mm_runs.train(CLASSIFICATION, cifar, 1, 'work') == 2
    assert 'no checkpoint' in mm_runs.said(capsys)
