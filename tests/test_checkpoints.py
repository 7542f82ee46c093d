"""Weight files are read whole, unrun and held against their hash; written files replace old ones whole."""

import argparse
import os
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path

import pytest
import timm
import torch
import yaml

from backbones.checkpoints import INDEX, catalogue, load_checkpoint, save_checkpoint, sha256


class Bomb:
    """Pickles to a call that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return {'weight': torch.randn(64, 64), 'bias': torch.randn(64)}


def test_reads_what_training_saves(state, tmp_path):
    torch.save({'model': state, 'args': argparse.Namespace(lr=0.1), 'epoch': 7}, tmp_path / 'a.pth')
    assert torch.equal(load_checkpoint(tmp_path / 'a.pth')['model']['weight'], state['weight'])
    digest = save_checkpoint(state, tmp_path / 'a.safetensors', {'note': 'x'})
    assert digest == sha256(tmp_path / 'a.safetensors')
    assert torch.equal(load_checkpoint(tmp_path / 'a.safetensors', digest[:8])['bias'], state['bias'])
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a.pth', 'a.safetensors']


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_broken_files(state, tmp_path, suffix):
    path = tmp_path / f'whole{suffix}'
    save_checkpoint(state, path) if suffix == '.safetensors' else torch.save(state, path)
    cut = tmp_path / f'cut{suffix}'
    for length in (path.stat().st_size // 2, 3, 0):
        cut.write_bytes(path.read_bytes()[:length])
        with pytest.raises(ValueError, match='cut'):
            load_checkpoint(cut)
    cut.write_text('<html>not found</html>')
    with pytest.raises(ValueError, match='cut'):
        load_checkpoint(cut)
    for wrong in (b'\x80\x02R.', b'\x80\x02ccollections\nOrderedDict\nK\x01R.'):
        cut.write_bytes(wrong)
        with pytest.raises(ValueError, match='cut'):
            load_checkpoint(cut)
    with pytest.raises(ValueError, match='check the path'):
        load_checkpoint(tmp_path / 'absent.pth')
    with pytest.raises(ValueError, match='SHA-256'):
        load_checkpoint(path, '00000000')


def test_what_a_user_allows_stays_allowed(state, tmp_path):
    torch.save({'model': state, 'args': argparse.Namespace(lr=0.1)}, tmp_path / 'a.pth')
    with torch.serialization.safe_globals([argparse.Namespace]):
        load_checkpoint(tmp_path / 'a.pth')
        assert argparse.Namespace in torch.serialization.get_safe_globals()


def test_malicious_files_run_nothing(tmp_path):
    made = tmp_path / 'made'
    torch.save({'model': Bomb(made)}, tmp_path / 'zip.pth')
    (tmp_path / 'pickle.pth').write_bytes(pickle.dumps(Bomb(made)))
    for name in ('zip.pth', 'pickle.pth'):
        with pytest.raises(ValueError, match='nothing in it was run'):
            load_checkpoint(tmp_path / name)
    assert not made.exists()


@pytest.mark.parametrize('module', ['yacs.config.CfgNode', 'omegaconf.dictconfig.DictConfig'])
def test_settings_of_a_training_are_read_without_their_package(module, state, tmp_path, monkeypatch):
    place, name = module.rsplit('.', 1)
    package = types.ModuleType(place)
    settings = type(name, (dict,), {'__module__': place, '__init__': lambda self, *_: print('it was run')})
    setattr(package, name, settings)
    with monkeypatch.context() as inside:
        inside.setitem(sys.modules, place, package)
        inside.setitem(sys.modules, place.split('.')[0], package)
        torch.save({'model': state, 'config': settings()}, tmp_path / 'a.pth')
    read = load_checkpoint(tmp_path / 'a.pth')
    assert torch.equal(read['model']['weight'], state['weight']) and type(read['config']) is OrderedDict


def test_foreign_contents(tmp_path):
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='mapping'):
        load_checkpoint(tmp_path / 'list.pth')


def test_writing_never_harms_the_file_there_is(state, tmp_path):
    path = tmp_path / 'a.safetensors'
    digest = save_checkpoint(state, path)
    with pytest.raises((AttributeError, ValueError, TypeError)):
        save_checkpoint({**state, 'bad': 'no tensor'}, path)
    assert sha256(path) == digest


def test_catalogue_lists_every_bundled_file():
    rows = catalogue()
    assert rows == yaml.safe_load(INDEX.read_text())['checkpoints']
    bundled = {row['file']: row for row in rows if 'file' in row}
    assert set(bundled) == {p.name for p in INDEX.parent.iterdir() if p.suffix in ('.safetensors', '.pth')}
    for name, row in bundled.items():
        assert sha256(INDEX.parent / name) == row['sha256']
        assert (INDEX.parent / name).stat().st_size <= 30e6
    for row in rows:
        assert row['model'] and row['licence'] and ('file' in row) != ('url' in row)


def test_a_word_that_no_family_has_is_not_laid_on_the_file(tmp_path):
    torch.save({'weight': torch.zeros(1)}, tmp_path / 'a.pth')
    overlay = {'file': str(tmp_path / 'a.pth')}
    with pytest.raises(ValueError, match=r'^AFFNet takes the arguments .* but got'):
        timm.create_model('affnet_et', pretrained=True, pretrained_cfg_overlay=overlay, widths=1)
