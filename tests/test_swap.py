"""`--backbone NAME`: any backbone in any config, with channels and strides that fit."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmpretrain')

import mm_runs
import numpy as np
import safetensors.torch
import timm
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.registry import MODELS
from PIL import Image

from backbones.layers import MixedLIF
from backbones.mm import build_model, read_checkpoint
from registry import facts, make, variants
from tools import fit, mm_config
from tools import predict as predict_tool
from tools import test as test_tool
from tools import train as train_tool

OTHERS = ['poolformer_s12', 'swin_tiny_patch4_window7_224', 'tnt_s_legacy_patch16_224', 'resnet18']
# Config -> strides of the maps that its heads get.
DENSE = {
    'configs/detection/retinanet_fpn_bccd.py': [8, 16, 32, 64],
    'configs/detection/mask_rcnn_strip_mlp_tiny_light_fpn_nuclei.py': [4, 8, 16, 32, 64],
    'configs/segmentation/fpn_svt_s_nuclei.py': [4, 8, 16, 32],
    'configs/segmentation/upernet_nuclei.py': [4, 8, 16, 32],
}


def swapped(path: str, name: str) -> tuple[Any, str]:
    """The model of the config with another backbone, or the sentence that says why there is none."""
    try:
        return mm_config.load_config(path, {}, name).model, ''
    except ValueError as error:
        return None, str(error)


@pytest.mark.parametrize('name', [*variants(), *OTHERS])
@pytest.mark.parametrize(
    'path',
    [path if 'retina' in path else pytest.param(path, marks=pytest.mark.full) for path in DENSE],
)
def test_dense(path: str, name: str) -> None:
    """Either the levels have the strides that the heads want and the channels that they are told, or a sentence."""
    model, mistake = swapped(path, name)
    if model is None:
        takes = name in OTHERS or (facts(name).maps and not facts(name).clips)
        assert ('gives maps of the strides' if takes else name if facts(name).clips else 'no feature maps') in mistake
        return
    with torch.device('meta'):
        backbone = MODELS.build(model.backbone)
    assert not any(isinstance(module, MixedLIF) for module in backbone.modules())  # pictures do not change each other
    strides, channels = list(backbone.strides), list(backbone.channels)
    wanted = DENSE[path]
    assert strides == wanted[: len(strides)]
    if 'neck' in model:
        assert model.neck.in_channels == channels
        assert model.neck.num_outs == len(wanted)
        assert 'start_level' not in model.neck
    else:
        assert strides == wanted
        assert model.decode_head.in_channels == channels
        assert model.auxiliary_head.in_channels == channels[model.auxiliary_head.in_index]
    assert model.backbone.get('drop_path_rate', 0.1) == 0.1


def test_the_neck_makes_the_coarsest_level_as_before() -> None:
    """By pooling, where the new backbone gives as many maps as the old one."""
    path = 'configs/detection/mask-rcnn_swin_tiny_fpn_1x_coco.py'
    before = Config.fromfile(path).model.neck
    for name in ('ms_mlp_tiny', 'poolformer_s12'):
        neck = swapped(path, name)[0].neck
        assert {**neck, 'in_channels': before.in_channels} == before


def test_a_start_from_published_weights_is_not_lost_without_a_word(capsys: pytest.CaptureFixture) -> None:
    for path in (
        'configs/detection/mask-rcnn_affnet_et_fpn_1x_coco.py',
        'configs/segmentation/upernet_swin_tiny_160k_ade20k.py',
    ):
        assert 'init_cfg' not in swapped(path, 'spartan_t')[0].backbone
        assert 'spartan_t starts from random weights' in capsys.readouterr().err


@pytest.mark.parametrize('own', ['pretrained=True', "checkpoint_path='other.pth'"])
def test_the_same_network_has_one_start(own: str, tmp_path: Path) -> None:
    weights, path = tmp_path / 'weights.pth', tmp_path / 'config.py'
    torch.save(timm.create_model('test_resnet', num_classes=0).state_dict(), weights)
    base = mm_runs.ROOT / 'configs/detection/retinanet_fpn_bccd.py'
    path.write_text(
        f"_base_ = ['{base}']\n"
        f"model = dict(backbone=dict(_delete_=True, type='TimmFeatures', model_name='test_resnet', {own}))\n"
    )
    backbone = mm_config.load_config(str(path), {}, 'test_resnet', str(weights)).model.backbone
    MODELS.build(backbone).init_weights()
    assert backbone.init_cfg.checkpoint == str(weights)


def test_pictures_are_scaled_as_the_weights_want(tmp_path: Path) -> None:
    state = {'stem.weight': torch.zeros(1)}
    torch.save({'state_dict': state}, tmp_path / 'official.pth')
    log = HistoryBuffer([0.5], [1])  # which mmengine's checkpoints hold
    torch.save({'state_dict': state, 'meta': {}, 'message_hub': {'loss': log}}, tmp_path / 'own.pth')
    for name in ('detection/mask-rcnn_affnet_et_fpn_1x_coco', 'classification/affnet_et_imagenet'):
        path = f'configs/{name}.py'
        config = mm_config.load_config(path, {}, 'spartan_t', str(tmp_path / 'official.pth'))
        found = config.get('data_preprocessor') or config.model.data_preprocessor
        cfg = timm.models.get_pretrained_cfg('spartan_t')
        assert (found['mean'], found['std']) == ([255 * v for v in cfg.mean], [255 * v for v in cfg.std])
        before = Config.fromfile(path)
        config = mm_config.load_config(path, {}, 'spartan_t', str(tmp_path / 'own.pth'))  # this project's training
        for place in (config, config.model):
            told = before if place is config else before.model
            assert place.get('data_preprocessor') == told.get('data_preprocessor')


def test_dilated_maps_are_replaced_by_dilated_maps() -> None:
    """Which a network without the argument does not have."""
    path = 'configs/segmentation/deeplabv3_affnet_et_40k_ade20k.py'
    for name in ('affnet_t', 'resnet18', 'efficientnet_b0'):
        model = swapped(path, name)[0]
        with torch.device('meta'):
            backbone = MODELS.build(model.backbone)
        assert backbone.strides == (4, 8, 16, 16)
        assert model.decode_head.in_channels == backbone.channels[-1]
        assert model.auxiliary_head.in_channels == backbone.channels[-2]
    model, mistake = swapped(path, 'poolformer_s12')
    assert model is None and 'strides 4, 8, 16, 32, but the heads of this config want 4, 8, 16, 16' in mistake


@pytest.mark.parametrize('name', [*variants(pictures=True), *OTHERS])
def test_classifier(name: str) -> None:
    config = mm_config.load_config('configs/classification/max_former_cifar10.py', {}, name)
    assert 'num_heads' not in config.model
    with torch.device('meta'):
        model = MODELS.build(config.model)
    assert model.model.num_classes == 10


def test_a_classifier_of_one_size_is_made_for_the_pictures() -> None:
    with torch.device('meta'):
        model = MODELS.build(swapped('configs/classification/lsnet_t_imagenet.py', 'scaling_mlp_b_6_wi_512')[0]).eval()
        assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)


CELLS = 'configs/classification/scaling_mlp_b_6_wi_512_cells.py'


@pytest.mark.parametrize('classes', [3, 7, 1000, 0])
def test_a_classifier_of_timm_starts_from_all_weights_but_another_head(classes: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = str(tmp_path / 'weights.pth')
    torch.save(given := timm.create_model('test_resnet', num_classes=classes).state_dict(), file)
    for path in (CELLS, 'configs/classification/lsnet_t_imagenet.py'):  # 3 and 1000 classes
        config = mm_config.load_config(path, {}, 'test_resnet', file)
        found = MODELS.build(config.model).model.state_dict()
        assert len(found['fc.weight']) == config.model.num_classes
        for key, value in found.items():
            if not key.startswith('fc.') or classes == config.model.num_classes:
                torch.testing.assert_close(value, given[key], rtol=0, atol=0)


@pytest.mark.parametrize('name', ['test_resnet', 'affnet_et'])
def test_a_classifier_starts_from_what_a_training_saved(name: str, tmp_path: Path) -> None:
    file = str(tmp_path / 'epoch_1.pth')
    given = build_model(mm_config.load_config(CELLS, {}, name)).state_dict()
    hub = {'log_scalars': {'loss': HistoryBuffer([0.5], [1])}, 'runtime_info': {'best_score': np.float32(1)}}
    torch.save({'meta': {'epoch': 1}, 'state_dict': given, 'message_hub': hub}, file)
    config = mm_config.load_config(CELLS, {}, name, file)
    torch.testing.assert_close(MODELS.build(config.model).state_dict(), given, rtol=0, atol=0)


@pytest.mark.parametrize('name', ['resnet18', 'poolformer_s12'])
def test_weights_of_another_network_are_refused(name: str, tmp_path: Path) -> None:
    """Also by timm's own classifiers of another number of classes, which take any file as they are."""
    wrong = dict(timm.create_model('resnet18', num_classes=7).state_dict())
    del wrong['layer1.0.conv1.weight']
    torch.save(wrong, tmp_path / 'part.pth')
    for file in ('checkpoints/max_former_cifar10_18e.safetensors', str(tmp_path / 'part.pth')):
        with pytest.raises(ValueError, match=f'holds no weights of {name}'):
            mm_config.load_config(CELLS, {}, name, file)


def test_a_family_keeps_the_switches_of_the_recipe(capsys: pytest.CaptureFixture) -> None:
    """And its maps' norms; sizes, and what another family has no argument for, are dropped with a word."""
    for path, name in (
        ('detection/mask-rcnn_swin_tiny_fpn_3x_coco', 'swin_small_patch4_window7_224'),
        ('detection/mask-rcnn_poolformer_s12_fpn_1x_coco', 'poolformer_s24'),
        ('detection/retinanet_lsnet_t_fpn_1x_coco', 'lsnet_s'),
        ('detection/mask-rcnn_raft_mlp_s_fpn_1x_coco', 'raft_mlp_m'),
        ('classification/svt_s_imagenet', 'svt_b'),
    ):
        before = Config.fromfile(f'configs/{path}.py').model
        after = swapped(f'configs/{path}.py', name)[0]
        before, after = before.get('backbone', before), after.get('backbone', after)
        switches = {key: before[key] for key in before if isinstance(before[key], bool) or key == 'out_norm'}
        assert switches
        assert switches == {key: after.get(key) for key in switches}
        assert 'without' not in capsys.readouterr().err
    swapped('configs/detection/mask-rcnn_swin_tiny_fpn_3x_coco.py', 'spartan_t')
    said = capsys.readouterr().err
    assert 'drop path 0.2, as the config has it' in said
    assert 'without' in said and "out_norm='layer'" in said and 'always_partition=True' in said
    swapped('configs/detection/mask-rcnn_poolformer_s12_fpn_1x_coco.py', 'spartan_t')
    assert 'its own drop path' in capsys.readouterr().err


def test_the_same_network_keeps_its_size_when_it_gets_weights() -> None:
    path = 'configs/classification/max_former_cifar10_18e.py'
    before = Config.fromfile(path).model
    weights = 'checkpoints/max_former_cifar10_18e.safetensors'
    after = mm_config.load_config(path, {}, before.model_name, weights).model
    assert before.num_heads == after.num_heads
    assert before == {key: value for key, value in after.items() if key in before}


def test_a_classifier_of_timm_is_made_for_the_pictures() -> None:
    model = MODELS.build(swapped(CELLS, 'vit_tiny_patch16_224')[0]).eval()
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


def test_pictures_that_no_step_resizes_have_the_size_of_their_files(tmp_path: Path) -> None:
    (tmp_path / 'train' / 'bird').mkdir(parents=True)
    (tmp_path / 'train' / 'bird' / 'a.txt').write_text('no picture')
    Image.new('RGB', (40, 24)).save(tmp_path / 'train' / 'bird' / 'b.png')
    config = Config.fromfile('configs/classification/max_former_cifar10.py')
    config.train_dataloader.dataset.data_root = str(tmp_path)
    assert fit.picture_sizes(config, config.model) == [(24, 40)]


def test_networks_that_fail_at_the_sizes_of_the_pictures_are_refused() -> None:
    path = 'configs/detection/retinanet_fpn_half_bccd.py'
    model, mistake = swapped(path, 'hrnet_w18')
    assert model is None
    assert '--backbone hrnet_w18 must take pictures of 156 x 208 and of 124 x 208 pixels' in mistake
    assert swapped(path, 'twins_pcpvt_small')[0].backbone.get('img_size') is None  # fixed pictures are not for it
    # It can be made for one size, and then takes no other.
    model, mistake = swapped('configs/segmentation/upernet_nuclei.py', 'gcvit_xxtiny')
    assert model is None and '--backbone gcvit_xxtiny must take pictures of 256 x 256 and of 204 x 256' in mistake


def test_trains(tmp_path: Path) -> None:
    """With weights to start from, into a folder of its own, whose config `tools/test.py` takes."""
    weights = tmp_path / 'official.safetensors'
    safetensors.torch.save_file(make('spartan_t').state_dict(), weights)
    path, work = 'configs/detection/retinanet_fpn_bccd.py', tmp_path / 'work'
    words = [w for w in mm_runs.options('detection', 1, tmp_path) if not w.startswith(('model.backbone', 'model.neck'))]
    swap = ['--backbone', 'spartan_t', '--init', str(weights)]
    assert train_tool.main([path, *swap, '--work-dir', str(work), '--cfg-options', *words]) == 0
    assert read_checkpoint(work / 'epoch_1.pth')['meta']['iter'] == 2
    written = Config.fromfile(work / Path(path).name)
    assert written.model.backbone.model_name == 'spartan_t'
    losses = [json.loads(line) for line in next(work.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    assert any('loss' in row for row in losses)


def test_what_a_training_started_from_may_be_gone_when_it_has_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Of a classifier and a detector: measured, predicted and resumed, by the same command or with the whole config."""
    monkeypatch.chdir(mm_runs.ROOT)
    picture = 'data/bccd/images/BloodImage_00007.jpg'
    for name, config in (('spartan_t', 'configs/detection/retinanet_fpn_bccd.py'), ('test_resnet', CELLS)):
        weights, work = tmp_path / f'{name}.pth', tmp_path / name
        torch.save(timm.create_model(name).state_dict(), weights)
        short = [word for word in mm_runs.options(config, 1, tmp_path) if not word.startswith('model.')]
        longer = [word.replace('max_epochs=1', 'max_epochs=2') for word in short]
        swap = [config, '--backbone', name, '--init', str(weights), '--work-dir', str(work)]
        assert train_tool.main([*swap, '--cfg-options', *short]) == 0
        weights.unlink()
        whole, checkpoint = work / Path(config).name, work / 'epoch_1.pth'
        again = swap
        if config == CELLS:
            text = whole.read_text()
            assert test_tool.main([str(whole), str(checkpoint), '--work-dir', str(work)]) == 0
            assert whole.read_text() == text
            out = ['--out', str(tmp_path / 'out'), '--device', 'cpu']
            assert predict_tool.main([str(whole), str(checkpoint), picture, *out]) == 0
            again = [str(whole), '--work-dir', str(work)]
        assert train_tool.main([*again, '--resume', '--cfg-options', *longer]) == 0
        assert read_checkpoint(work / 'epoch_2.pth')['meta']['iter'] == 4
        assert (f'there is no {weights} any more' in capsys.readouterr().err) == (again is swap)
    assert train_tool.main([*swap[:-1], str(tmp_path / 'new'), '--resume']) == 2  # nothing to go on from
    assert f'--init: there is no file {weights}' in capsys.readouterr().err


def test_the_folder_is_named_after_both() -> None:
    config = Config()
    mm_config.set_work_dir(config, 'configs/detection/retinanet_fpn_bccd.py', None, 'spartan_t')
    assert config.work_dir == 'work_dirs/retinanet_fpn_bccd_spartan_t'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--backbone', 'spartan'], "--backbone: there is no model 'spartan': did you mean spartan_t"),
        (['--init', 'official.pth'], '--init gives the weights of a --backbone: name one'),
        (['--backbone', 'spartan_t', '--init', 'nowhere.pth'], '--init: there is no file nowhere.pth'),
        (['--backbone', 'tnt_s_legacy_patch16_224'], 'maps of the strides 16, but the heads of this config want 8, 16'),
    ],
)
def test_mistakes(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert train_tool.main(['configs/detection/retinanet_fpn_bccd.py', *arguments, '--work-dir', str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('path', 'name'),
    [
        ('detection/mask-rcnn_lsnet_t_fpn_1x_coco', 'lsnet_s'),
        ('detection/dino_strip_mlp_tiny_4scale_24e_coco', 'spartan_t'),
    ],
)
def test_other_necks_take_maps_of_the_same_strides(path: str, name: str) -> None:
    before = Config.fromfile(f'configs/{path}.py').model
    model = swapped(f'configs/{path}.py', name)[0]
    with torch.device('meta'):
        old, new = MODELS.build({**before.backbone, 'init_cfg': None}), MODELS.build(model.backbone)
    assert new.strides == old.strides
    assert model.neck == {**before.neck, 'in_channels': list(new.channels)}


def test_other_necks_make_no_levels() -> None:
    model, mistake = swapped('configs/detection/mask_rcnn_lsnet_t_fpn_nuclei.py', 'spartan_t')
    assert model is None and 'strides 4, 8, 16, 32, but the heads of this config want 8, 16, 32, 64' in mistake


def test_a_neck_without_a_list_of_channels_is_refused(tmp_path: Path) -> None:
    config = tmp_path / 'config.py'
    base = mm_runs.ROOT / 'configs/detection/retinanet_fpn_bccd.py'
    config.write_text(f"_base_ = ['{base}']\nmodel = dict(neck=dict(_delete_=True, type='SSDNeck', in_channels=512))\n")
    assert 'a list of `in_channels`' in swapped(str(config), 'spartan_t')[1]
