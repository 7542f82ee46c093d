"""Training, resuming and measuring with the tools."""

import json
import os
import signal
import time

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmpretrain')

import mm_runs
import safetensors
import torch
from mmengine.config import Config

from backbones.mm import build_model, load_weights, read_checkpoint
from tools import curves, mm_config, pack
from tools import test as test_tool
from tools import train as train_tool

METRIC = {
    'detection': 'coco/bbox_mAP',
    'instance': 'coco/segm_mAP',
    'segmentation': 'mIoU',
    'classification': 'accuracy/top1',
}


pytestmark = pytest.mark.usefixtures('in_root')


def _steps(path) -> set[int]:
    """Updates that each weight has had, as its optimizer counts them."""
    return {int(state['step']) for state in read_checkpoint(path)['optimizer']['state'].values()}


@pytest.mark.parametrize('task', mm_runs.RUNNABLE)
def test_trains_resumes_and_measures(task, tmp_path):
    config, work = mm_runs.RUNNABLE[task], tmp_path / 'work'
    if task == 'classification':
        mm_runs.make_cifar10(tmp_path)
    short = mm_runs.options(task, 1, tmp_path)
    assert train_tool.main([config, '--work-dir', str(work), '--cfg-options', *short]) == 0
    first = mm_runs.checkpoint(work, task, 1)
    assert _steps(first) == {2}

    longer = mm_runs.options(task, 2, tmp_path)
    assert train_tool.main([config, '--work-dir', str(work), '--resume', '--cfg-options', *longer]) == 0
    last = mm_runs.checkpoint(work, task, 2)
    assert _steps(last) == {4}

    assert METRIC[task] in _measure(config, last, longer, tmp_path)


def _measure(config, checkpoint, options, folder) -> dict:
    out = folder / 'metrics.json'
    args = [config, str(checkpoint), '--work-dir', str(folder / 'work'), '--out', str(out), '--cfg-options', *options]
    assert test_tool.main(args) == 0
    return json.loads(out.read_text())


@pytest.mark.parametrize(
    'config', mm_runs.one_of_each([path for path in mm_runs.BUNDLED if path not in mm_runs.RUNNABLE.values()])
)
def test_every_config_with_bundled_data_trains_and_measures(config, tmp_path):
    task, work = mm_runs.task_of(Config.fromfile(config)), tmp_path / 'work'
    short = mm_runs.options(config, 1, tmp_path)
    assert train_tool.main([config, '--work-dir', str(work), '--cfg-options', *short]) == 0
    trained = mm_runs.checkpoint(work, task, 1)
    assert _steps(trained) == {2}
    assert METRIC[task] in _measure(config, trained, short, tmp_path)


@pytest.mark.parametrize('config', mm_runs.one_of_each(mm_runs.RECIPES))
def test_every_classifier_trains(config, tmp_path):
    mm_runs.make_cifar10(tmp_path)
    mm_runs.make_imagenet(tmp_path)
    short = mm_runs.options(config, 1, tmp_path)
    assert train_tool.main([config, '--work-dir', str(tmp_path), '--cfg-options', *short]) == 0
    assert read_checkpoint(tmp_path / 'epoch_1.pth')['meta']['iter'] == 2


def test_averaged_weights_of_a_classifier_are_resumed_and_measured(tmp_path):
    mm_runs.make_imagenet(tmp_path)
    config = 'configs/classification/lsnet_t_imagenet.py'
    for epochs, more in ((1, []), (2, ['--resume'])):
        words = mm_runs.options(config, epochs, tmp_path)
        assert train_tool.main([config, '--work-dir', str(tmp_path), *more, '--cfg-options', *words]) == 0
    checkpoint = read_checkpoint(tmp_path / 'epoch_2.pth')
    assert int(checkpoint['ema_state_dict']['steps']) == 4
    for key, value in checkpoint['state_dict'].items():  # the averaged weights are saved as the model's
        assert checkpoint['ema_state_dict'][f'module.{key}'].shape == value.shape
    assert METRIC['classification'] in _measure(config, tmp_path / 'epoch_2.pth', words, tmp_path)


def test_a_packed_model_is_small_and_whole(tmp_path, capsys):
    narrow = [word for word in mm_runs.options('detection', 1, tmp_path) if word.startswith('model.backbone')]
    config, options = mm_runs.RUNNABLE['detection'], [*narrow, 'model.neck.in_channels=[16,16,32,32]']
    parsed = mm_config.Parser('', '').parse_args([config, '--cfg-options', *options]).cfg_options
    model = build_model(mm_config.load_config(config, parsed))
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'trained.pth')
    (tmp_path / 'metrics.json').write_text('{"AP": 0.5}')
    args = [config, str(tmp_path / 'trained.pth'), str(tmp_path / 'packed.safetensors')]
    assert pack.main([*args, '--metrics', str(tmp_path / 'metrics.json'), '--cfg-options', *options]) == 0
    with safetensors.safe_open(tmp_path / 'packed.safetensors', 'pt') as file:
        assert json.loads(file.metadata()['classes']) == ['RBC', 'WBC', 'Platelets']
        assert json.loads(file.metadata()['metrics']) == {'AP': 0.5}
    assert (tmp_path / 'packed.safetensors').stat().st_size < 0.6 * (tmp_path / 'trained.pth').stat().st_size
    load_weights(model, tmp_path / 'packed.safetensors')
    for key, value in torch.load(tmp_path / 'trained.pth', weights_only=True)['state_dict'].items():
        torch.testing.assert_close(model.state_dict()[key], value, rtol=1e-3, atol=1e-6)
    assert pack.main([*args[:2], 'out.pth']) == 2
    assert '.safetensors' in capsys.readouterr().err
    assert pack.main([config, args[2], args[2], '--cfg-options', *options]) == 2
    assert 'must not be the checkpoint itself' in capsys.readouterr().err


BUNDLED = 'checkpoints/retinanet_lsnet_t_fpn_bccd.safetensors'


def test_the_bundled_detector_belongs_to_its_config():
    assert build_model(mm_runs.RUNNABLE['detection'], BUNDLED)
    assert (mm_runs.ROOT / BUNDLED).stat().st_size < 30e6


@pytest.mark.full
def test_the_bundled_detector_finds_cells(tmp_path):
    out = tmp_path / 'metrics.json'
    args = [mm_runs.RUNNABLE['detection'], BUNDLED, '--work-dir', str(tmp_path), '--out', str(out)]
    assert test_tool.main(args) == 0
    assert json.loads(out.read_text())['coco/bbox_mAP_50'] > 0.8


def test_a_killed_training_goes_on_from_its_last_checkpoint(tmp_path):
    mm_runs.make_cifar10(tmp_path)
    config, work = mm_runs.RUNNABLE['classification'], tmp_path / 'work'
    run = ['--work-dir', str(work), '--cfg-options', *mm_runs.options('classification', 1000, tmp_path)]
    process = mm_runs.start('tools/train.py', config, *run)
    deadline = time.monotonic() + 200
    while not (work / 'epoch_2.pth').is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    output = process.communicate()[0].decode()
    assert (work / 'epoch_2.pth').is_file(), output
    assert {_steps(path) == {2 * int(path.stem[6:])} for path in work.glob('epoch_*.pth')} == {True}  # all are whole

    last = int(mm_config.last_checkpoint(work).stem[6:])  # mmengine's own note may be cut short by the kill
    options = mm_runs.options('classification', last + 1, tmp_path)
    assert train_tool.main([config, '--work-dir', str(work), '--resume', '--cfg-options', *options]) == 0
    assert _steps(work / f'epoch_{last + 1}.pth') == {2 * (last + 1)}


def test_a_folder_takes_one_training_at_a_time(tmp_path, capsys):
    code = f'import fcntl, time; file = open({str(tmp_path / ".training")!r}, "w"); fcntl.lockf(file, fcntl.LOCK_EX)'
    process = mm_runs.start('-c', f'{code}; print("held", flush=True); time.sleep(200)')
    assert process.stdout.readline() == b'held\n'
    assert train_tool.main([DETECTION, '--work-dir', str(tmp_path), '--no-check']) == 2
    assert 'one is running there' in capsys.readouterr().err
    assert not list(tmp_path.glob('*.py'))
    process.kill()
    process.wait()


def test_two_processes_train_as_one_over_gloo_and_are_resumed(tmp_path):
    mm_runs.make_cifar10(tmp_path)
    launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2']
    tool = ['tools/train.py', mm_runs.RUNNABLE['classification'], '--launcher', 'pytorch', '--auto-scale-lr']
    for work, epochs, more in (('whole', 2, []), ('parts', 1, []), ('parts', 2, ['--resume'])):
        options = [*mm_runs.options('classification', epochs, tmp_path), 'val_dataloader.dataset.indices=12']
        words = ['--work-dir', str(tmp_path / work), *more, '--cfg-options', *options]
        process = mm_runs.start(*launch, *tool, *words)
        output = process.communicate(timeout=280)[0].decode()
        assert process.returncode == 0, output
    state = read_checkpoint(tmp_path / 'parts' / 'epoch_1.pth')
    assert {int(s['step']) for s in state['optimizer']['state'].values()} == {1}  # 4 pictures over 2 processes x 2
    assert not any(key.startswith('module.') for key in state['state_dict'])
    whole, parts = (read_checkpoint(tmp_path / work / 'epoch_2.pth')['state_dict'] for work in ('whole', 'parts'))
    torch.testing.assert_close(whole, parts, rtol=0, atol=0)
    scores = [curves.read(tmp_path / work, 'accuracy/top5') for work in ('whole', 'parts')]
    assert scores[0] == scores[1]


@pytest.mark.parametrize('tool', [test_tool, train_tool])
def test_processes_that_are_not_told_of_each_other_are_refused(tool, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    args = [DETECTION, BUNDLED] if tool is test_tool else [DETECTION]
    assert tool.main([*args, '--work-dir', str(tmp_path / 'work'), '--no-check']) == 2
    assert 'add --launcher pytorch' in capsys.readouterr().err
    assert not (tmp_path / 'work').exists()


def test_a_lost_note_of_the_last_checkpoint_costs_nothing(tmp_path):
    for name in ('epoch_2.pth', 'epoch_10.pth', 'best_x_epoch_11.pth'):
        (tmp_path / name).touch()
    assert mm_config.last_checkpoint(tmp_path).name == 'epoch_10.pth'
    (tmp_path / 'last_checkpoint').write_text('')
    assert mm_config.last_checkpoint(tmp_path).name == 'epoch_10.pth'
    (tmp_path / 'last_checkpoint').write_text('/moved/away/epoch_2.pth')
    assert mm_config.last_checkpoint(tmp_path).name == 'epoch_2.pth'
    assert mm_config.last_checkpoint(tmp_path / 'empty') is None


DETECTION = mm_runs.RUNNABLE['detection']


def _option(text: str) -> list[str]:
    return [DETECTION, '--cfg-options', text]


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        (['configs/no.py'], ['configs/no.py']),
        (['README.md'], ['README.md']),
        (_option('train_dataloadr.batch_size=2'), ['train_dataloadr', 'train_dataloader']),
        (_option('model.test_cfg.score_th=0.1'), ['score_th', 'score_thr']),
        (_option('train_dataloader.dataset.pipeline.99.scale=1'), ['items 0 to']),
        (_option('model.backbon.model_name=lsnet_s'), ['backbon']),
        (_option('model.backbone.modl_name=lsnet_s'), ['modl_name']),
        (_option('model.backbone.model_name=lsnet_x'), ['lsnet_x', 'lsnet_t']),
        (_option('model.type=RetinaNat'), ['RetinaNat']),
        (_option('train_dataloader.dataset.ann_file=no.json'), ['no.json']),
        (_option('default_hooks.checkpoint.max_keep_ckpts=1'), ['max_keep_ckpts']),
        (_option('train_cfg.max_epochs=0'), ['train_cfg.max_epochs', 'from 1 on']),
        (_option('train_cfg.val_interval=0'), ['train_cfg.val_interval', 'from 1 on']),
        (_option('optim_wrapper.accumulative_counts=0'), ['accumulative_counts', 'from 1 on']),
        (_option('optim_wrapper.optimizer.type=Adamm'), ['optimizer.type', 'Adamm']),
        (_option('optim_wrapper.optimizer.lr=abc'), ['optimizer.lr', "a number, but is 'abc'"]),
        (_option('randomness.seed=abc'), ['randomness.seed', 'a number', 'abc']),
        (_option('test_dataloader.dataset.pipeline=abc'), ['dataset.pipeline', 'settings', 'abc']),
        (_option('load_from=s3://x/y.pth'), ['load_from', 'https', 's3://x/y.pth']),
        (_option('load_from=http://127.0.0.1:9/y.pth'), ['load_from', 'fetched', 'http://127.0.0.1:9/y.pth']),
        ([DETECTION, '--resume', 'no.pth'], ['no.pth']),
    ],
)
def test_a_mistake_is_one_sentence(args, words, tmp_path, capsys):
    assert train_tool.main(['--work-dir', str(tmp_path), *args]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith('train.py: ')
    assert all(word in said for word in words), said


def test_a_class_that_the_config_lacks_is_named(tmp_path, capsys):
    annotations = json.loads((mm_runs.ROOT / 'data/bccd/train.json').read_text())
    annotations['categories'].append({'id': 4, 'name': 'Parasite'})
    (tmp_path / 'more.json').write_text(json.dumps(annotations))
    option = f'train_dataloader.dataset.ann_file={tmp_path / "more.json"}'
    assert train_tool.main(['--work-dir', str(tmp_path), *_option(option)]) == 2
    assert 'Parasite' in capsys.readouterr().err


def test_amp_without_a_gpu_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert train_tool.main([DETECTION, '--amp', '--work-dir', str(tmp_path)]) == 2
    assert '--amp needs a GPU' in capsys.readouterr().err


def test_amp_keeps_the_way_of_clipping(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    for path, name in (
        (DETECTION, 'AmpOptimWrapper'),
        ('configs/classification/lsnet_t_imagenet.py', 'AdaptiveClipAmpOptimWrapper'),
    ):
        config = mm_config.load_config(path, {})
        train_tool._use_amp(config)
        train_tool._use_amp(config)  # a config may name it itself
        assert config.optim_wrapper.type == name and config.optim_wrapper.loss_scale == 'dynamic'
    config.optim_wrapper.type = 'OptimWrapperDict'
    with pytest.raises(ValueError, match='OptimWrapper or AdaptiveClipOptimWrapper, the config has OptimWrapperDict'):
        train_tool._use_amp(config)


class _Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize('tool', [test_tool, train_tool])
def test_broken_and_malicious_checkpoints_are_refused(tool, tmp_path, capsys):
    torch.save({'state_dict': {'x': torch.zeros(1000)}}, tmp_path / 'whole.pth')
    (tmp_path / 'half.pth').write_bytes((tmp_path / 'whole.pth').read_bytes()[:1500])
    torch.save({'state_dict': _Payload(str(tmp_path / 'ran'))}, tmp_path / 'evil.pth')
    for name in ('half.pth', 'evil.pth', 'whole.pth'):
        path = str(tmp_path / name)
        args = [DETECTION, path] if tool is test_tool else [DETECTION, '--resume', path]
        assert tool.main([*args, '--work-dir', str(tmp_path / 'work')]) == 2
        assert name in capsys.readouterr().err
    assert not (tmp_path / 'ran').exists()


def test_the_config_in_a_checkpoint_is_not_run(tmp_path, capsys):
    meta = {'config': f'import os\nos.mkdir({str(tmp_path / "ran")!r})\n', 'epoch': 1, 'iter': 2}
    torch.save({'state_dict': {}, 'optimizer': {}, 'message_hub': {}, 'meta': meta}, tmp_path / 'evil.pth')
    for more in (
        ['--resume', str(tmp_path / 'evil.pth')],
        ['--cfg-options', 'resume=True', f'load_from={tmp_path}/evil.pth'],
    ):
        assert train_tool.main([DETECTION, '--work-dir', str(tmp_path / 'work'), '--no-check', *more]) == 2
        assert 'holds a config that would be run' in capsys.readouterr().err
    assert not (tmp_path / 'ran').exists()
