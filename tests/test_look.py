"""Views of models: what runs find side by side, feature maps, receptive fields, and where a run errs."""

import argparse
import csv
import itertools
import re
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmpretrain')

import mm_runs
import timm
from mmengine.visualization import Visualizer
from PIL import Image
from timm.layers import LayerNorm2d, LayerScale

import backbones
from backbones.mm import build_model
from registry import NARROW, facts, family, shape, smallest
from tools import look, look_cam, look_errors, look_maps, mm_config
from tools.look_field import effective_fields, smallest_square

PICTURE = mm_runs.ROOT / 'data/bccd/images/BloodImage_00001.jpg'


pytestmark = pytest.mark.usefixtures('in_root')


def _field(*layers: nn.Module, size: int = 15) -> np.ndarray:
    model = nn.Sequential(*layers)
    return effective_fields(lambda batch: [model(batch)], [torch.randn(3, size, size) for _ in range(2)], [0])[0]


def test_the_field_of_convolutions_is_their_kernel() -> None:
    torch.manual_seed(0)
    one = _field(nn.Conv2d(3, 4, 3, padding=1))
    assert one.shape == (15, 15)
    assert (one[6:9, 6:9] > 0).all()
    assert (one > 0).sum() == 9
    two = _field(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
    assert (two[5:10, 5:10] > 0).all()
    assert (two > 0).sum() == 25
    wide = _field(nn.Conv2d(3, 4, 3, padding=4, dilation=4))
    assert (wide > 0).sum() == 9
    assert smallest_square(wide, 1)[0] == 9
    patches = _field(nn.Conv2d(3, 4, 4, stride=4), size=16)  # the cell in row and column 2
    assert smallest_square(patches, 1) == (4, 8, 8)


def test_the_field_is_the_mean_gradient() -> None:
    """Against the kernel itself, whose sign does not count."""
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 1, 3, padding=1)
    expected = layer.weight[0].abs().mean(0).detach().numpy()
    np.testing.assert_allclose(_field(layer)[6:9, 6:9], expected, rtol=1e-5)
    wide = nn.Conv2d(3, 4, 3, padding=1)
    signs = [torch.tensor(each) for each in itertools.product((-1.0, 1.0), repeat=4)]
    possible = [torch.einsum('o,oihw->ihw', sign, wide.weight).abs().mean(0).detach().numpy() for sign in signs]
    one = effective_fields(lambda batch: [wide(batch)], [torch.randn(3, 15, 15)], [0])[0][6:9, 6:9]
    assert any(np.allclose(one, field, rtol=1e-5) for field in possible)


def test_a_field_behind_a_layer_norm_is_no_rounding() -> None:
    """Its channels sum to a constant, whose gradient is zero."""
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 16, 3, padding=1)
    plain, normed = _field(layer), _field(layer, LayerNorm2d(16))
    assert (normed > 0).sum() == 9
    assert normed.sum() > 0.1 * plain.sum()


def test_levels_have_fields_of_their_own() -> None:
    first, second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def maps(batch: torch.Tensor) -> list[torch.Tensor]:
        return [first(batch), second(first(batch))]

    assert [(field > 0).sum() for field in effective_fields(maps, [torch.randn(3, 15, 15)], [0, 1])] == [9, 25]
    with pytest.raises(ValueError, match='level 0'):
        effective_fields(lambda batch: [0 * first(batch)], [torch.randn(3, 15, 15)], [0])


def test_the_smallest_square_holds_its_share() -> None:
    field = np.zeros((20, 24))
    field[3:8, 10:15] = 1
    field[19, 0] = 1  # one of 26
    assert smallest_square(field, 0.5) == (4, 3, 10)  # 16 of 26
    assert smallest_square(field, 25 / 26) == (5, 3, 10)
    assert smallest_square(field, 1)[0] == 17


def test_branches_that_start_at_zero_are_opened() -> None:
    """timm's ResNet has the last norm of each block at zero: its field would be that of the shortcuts."""
    options = argparse.Namespace(name='resnet10t', checkpoint=None, model_kwargs=())
    model = look_maps.backbone(options)
    blocks = [module for module in model.modules() if type(module).__name__ == 'BasicBlock']
    assert len(blocks) == 4
    assert all((block.bn2.weight == 1).all() for block in blocks)
    assert look_maps.open_branches(model) == 0
    layer = LayerScale(4, 1e-6)
    assert look_maps.open_branches(nn.Sequential(layer, nn.BatchNorm2d(4))) == 1
    assert (layer.gamma == 1).all()


@pytest.mark.parametrize('name', ['poolformer_s12', 'cait_xxs24_224', 'beit_base_patch16_224'])
def test_layer_scales_of_any_name_are_opened(name: str) -> None:
    model = timm.create_model(name, depth=2) if 'poolformer' not in name else timm.create_model(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    shut = {key for key, value in before.items() if value.numel() > 1 and (value == value.flatten()[0]).all()}
    shut = {key for key in shut if 0 < before[key].abs().max() <= 0.01}
    assert (len(shut) == 0) == ('beit' in name)
    assert look_maps.open_branches(model) == len(shut)
    for key, value in model.state_dict().items():
        assert (value == (1 if key in shut else before[key])).all()


def _boxes(*boxes: tuple[int, int, int, int]) -> torch.Tensor:
    return torch.tensor(boxes, dtype=torch.float32).view(-1, 4)


def test_boxes_are_matched_one_to_one() -> None:
    truth = _boxes((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), (60, 0, 90, 30))
    labels, ignored = torch.tensor([0, 1, 0, 0]), torch.tensor([False, False, False, True])
    found = _boxes(
        (0, 0, 10, 9),  # right
        (0, 1, 10, 10),  # the same once more: invented
        (20, 0, 30, 10),  # of the wrong class
        (45, 0, 55, 10),  # overlaps by a third: invented, and the third is missed
        (65, 5, 70, 10),  # in the crowd, which is left out
    )
    classes = torch.tensor([0, 0, 0, 0, 1])
    matrix = look_errors.match((truth, labels, ignored), (found, classes), 2)
    assert matrix.tolist() == [[1, 0, 1], [1, 0, 0], [2, 0, 0]]
    none = look_errors.match((_boxes(), torch.zeros(0).long(), torch.zeros(0).bool()), (found, classes), 2)
    assert none.tolist() == [[0, 0, 0], [0, 0, 0], [4, 1, 0]]
    missed = look_errors.match((truth, labels, ignored), (_boxes(), torch.zeros(0).long()), 2)
    assert missed.tolist() == [[0, 0, 2], [0, 0, 1], [0, 0, 0]]


def test_a_box_of_the_right_class_goes_before_a_closer_one() -> None:
    truth = _boxes((0, 0, 10, 10)), torch.tensor([1]), torch.tensor([False])
    found = _boxes((0, 0, 10, 10), (0, 0, 10, 8)), torch.tensor([0, 1])
    assert look_errors.match(truth, found, 2).tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_pictures_are_judged() -> None:
    true, found = torch.tensor([[[0, 0, 1], [1, 255, 0]]]), torch.tensor([[[0, 1, 1], [1, 1, 1]]])
    sample = types.SimpleNamespace(
        gt_sem_seg=types.SimpleNamespace(data=true), pred_sem_seg=types.SimpleNamespace(data=found)
    )
    verdict = look_errors.judge_pixels(sample, {}, ['a', 'b', 'c'], 0)
    assert verdict.matrix.tolist() == [[1, 2, 0], [0, 2, 0], [0, 0, 0]]
    assert verdict.badness == pytest.approx(1 - (1 / 3 + 2 / 4) / 2)
    sample = types.SimpleNamespace(gt_label=torch.tensor([1]), pred_score=torch.tensor([0.75, 0.25]))
    verdict = look_errors.judge_class(sample, {}, ['cat', 'dog'], 0)
    assert verdict.matrix.tolist() == [[0, 0], [1, 0]]
    assert verdict.badness == pytest.approx(np.log(4))
    assert verdict.words == 'loss 1.39: cat in place of dog'


@pytest.mark.parametrize('task', mm_runs.RUNNABLE)
def test_errors_of_a_run_are_on_one_page(task: str, tmp_path: Path) -> None:
    if task == 'classification':
        mm_runs.make_cifar10(tmp_path)
    weights, words = mm_runs.untrained(task, tmp_path)
    out = tmp_path / 'out'
    (out / 'worst').mkdir(parents=True)
    for name in ('07_earlier.png', '107_earlier.png', 'mine.png'):
        (out / 'worst' / name).touch()
    args = ['errors', mm_runs.RUNNABLE[task], weights, '--out', str(out), '--worst', '1', '--images', '2']
    more = ['--score-threshold', '0'] if task in ('detection', 'instance') else []
    assert look.main([*args, *more, '--cfg-options', *words]) == 0
    with (out / 'confusion.csv').open() as file:
        (_, *names), *rows = csv.reader(file)
    assert [row[0] for row in rows] == names
    assert (names[-1] == look_errors.NOTHING) == (task in ('detection', 'instance'))
    total = np.array([row[1:] for row in rows], dtype=int).sum()
    assert total == 2 if task == 'classification' else total > 2
    page = (out / 'index.html').read_text()
    sources = re.findall(r'(?:src|href)="([^"]{0,20})', page)
    assert len(sources) == 3  # icon, matrix and one picture
    assert all(source.startswith('data:') for source in sources)
    worst, other = sorted((out / 'worst').iterdir())
    assert other.name == 'mine.png'
    assert worst.name[3:].removesuffix('.png') in page
    for path in (worst, out / 'confusion.png'):
        with Image.open(path) as image:
            assert min(image.size) > 60
            assert len(image.convert('RGB').getcolors(1 << 24) or ()) > 10


def _run_folder(folder: Path, name: str) -> str:
    """What a training leaves."""
    torch.manual_seed(len(name))
    _, words = mm_runs.untrained('detection', folder)
    options = mm_config.Parser('', '').parse_args(['x', '--cfg-options', *words]).cfg_options
    config = mm_config.load_config(mm_runs.RUNNABLE['detection'], options)
    run = folder / name
    run.mkdir()
    config.dump(run / 'config.py')
    torch.save({'state_dict': build_model(config).state_dict()}, run / 'epoch_1.pth')
    return str(run)


def test_runs_are_drawn_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runs = [_run_folder(tmp_path, name) for name in ('one', 'other')]
    small = tmp_path / 'small.png'
    with Image.open(PICTURE) as image:
        image.resize((96, 64)).save(small)
    args = ['side-by-side', str(small), '--score-threshold', '0', '--out', str(tmp_path / 'out'), '--runs']
    assert look.main([*args, *runs]) == 0
    assert 'what 2 runs find' in capsys.readouterr().out
    with Image.open(tmp_path / 'out' / 'side_by_side_small.png') as image:
        pixels = np.array(image.convert('RGB'))
    assert pixels.shape[1] > 1.5 * pixels.shape[0]
    left, right = pixels[:, : pixels.shape[1] // 2], pixels[:, -(pixels.shape[1] // 2) :]
    assert (left != right).any()
    (tmp_path / 'one' / 'epoch_1.pth').unlink()
    assert 'checkpoint' in _refused([*args, *runs], capsys)
    (tmp_path / 'one' / 'config.py').unlink()
    assert 'config' in _refused([*args, *runs], capsys)
    assert 'nowhere' in _refused([*args, 'nowhere'], capsys)


def _width(path: Path) -> int:
    with Image.open(path) as image:
        return image.width


def test_maps_are_drawn_at_all_levels_or_some(tmp_path: Path) -> None:
    args = ['maps', 'test_resnet', str(PICTURE), '--img-size', '96', '--out', str(tmp_path)]
    assert look.main(args) == 0
    all_levels = _width(tmp_path / 'maps_test_resnet.png')
    assert look.main([*args, '--level', '-1']) == 0
    assert _width(tmp_path / 'maps_test_resnet.png') < all_levels / 2


def test_a_network_of_one_size_gets_the_picture_squeezed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    args = ['maps', 'tnt_s_legacy_patch16_224', str(PICTURE), '--level', '0', '--out', str(tmp_path)]
    slim = ['--model-kwargs', 'depth=2', 'embed_dim=48', 'inner_dim=12', 'num_heads_outer=2', 'num_heads_inner=2']
    assert look.main([*args, *slim]) == 0
    assert 'squeezed into 224 x 224' in capsys.readouterr().out
    assert _width(tmp_path / 'maps_tnt_s_legacy_patch16_224.png') > 0


def test_many_levels_stand_in_rows() -> None:
    assert [look_maps.grid(count) for count in (1, 5, 6, 7, 13, 25)] == [(1, 1), (1, 5), (1, 6), (2, 4), (3, 5), (5, 5)]


def test_other_channels(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Grey pictures for one channel, noise for any number."""
    more = ['--img-size', '32', '--level', '0', '--out', str(tmp_path), '--model-kwargs']
    assert look.main(['maps', 'test_resnet', str(PICTURE), *more, 'in_chans=1']) == 0
    assert look.main(['field', 'test_resnet', '--images', '1', *more, 'in_chans=2']) == 0
    assert 'takes 2' in _refused(['maps', 'test_resnet', str(PICTURE), *more, 'in_chans=2'], capsys)
    events = next(name for name in backbones.list_models() if facts(name).clips and facts(name).maps)
    assert look.main(['maps', events, str(PICTURE), *more, 'clips=False']) == 0  # its mean is of two channels


def test_maps_are_magnitudes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a LayerNorm's channels the mean is zero, and nothing but rounding would be seen; what is flat is said."""
    seen, titles = [], []
    flat = torch.zeros(1, 4, 8, 8)
    maps = torch.nn.functional.layer_norm(torch.randn(1, 8, 8, 4), (4,)).permute(0, 3, 1, 2)
    monkeypatch.setattr(look_maps, 'maps', lambda *_: [maps, maps, maps, maps, flat])
    monkeypatch.setattr(Visualizer, 'draw_featmap', lambda one, *_, **__: seen.append(one))
    monkeypatch.setattr(look_maps, 'panel', lambda axis, image, title: titles.append(title))
    look.main(['maps', 'test_resnet', str(PICTURE), '--img-size', '64', '--out', str(tmp_path)])
    assert seen[0].shape[0] == 1
    assert seen[0].min() > 0.1
    assert ['all places the same, 0' in title for title in titles] == [False] * 5 + [True]


def test_fields_are_drawn_and_measured(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / 'a.jpg').write_bytes(PICTURE.read_bytes())
    args = ['field', 'test_resnet', '--img-size', '64', '--level', '0', '1', '--out', str(tmp_path)]
    sides = []
    for more in (['--images', '2'], ['--pictures', str(tmp_path / 'in')]):
        assert look.main([*args, *more]) == 0
        said = capsys.readouterr().out
        sides.append([int(side) for side in re.findall(r'in (\d+) px', said)])
        assert _width(tmp_path / 'field_test_resnet.png') > 0
        assert str(tmp_path / 'field_test_resnet.png') in said
    for half, whole, half_above, whole_above in sides:
        assert 0 < half < whole < whole_above <= 64
        assert half < half_above


def _refused(args: list[Any], capsys: pytest.CaptureFixture) -> str:
    capsys.readouterr()
    assert look.main(args) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f'look.py {args[0]}: ')
    return said


def test_one_page_holds_all_views_and_moves_alone(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    args = ['test_resnet', '--img-size', '64', '--level', '0', '--out', str(tmp_path)]
    assert look.main(['field', *args, '--images', '1']) == 0
    page = tmp_path / 'index.html'
    assert str(page) in capsys.readouterr().out
    assert page.read_text().count('src="data:image') == 1
    page.write_text(page.read_text().replace('<h1>Views of models</h1>', '<h1>Errors of mine</h1>'))
    assert look.main(['maps', args[0], str(PICTURE), *args[1:]]) == 0
    text = page.read_text()
    assert text.count('src="data:image') == text.count('src=') == 2
    assert 'Errors of mine' in text
    assert 'maps test resnet' in text
    page.write_text('my own')
    assert look.main(['maps', args[0], str(PICTURE), *args[1:]]) == 0
    assert page.read_text() == 'my own'
    assert 'another one' in capsys.readouterr().out


def test_a_class_activation_map_is_where_the_class_is() -> None:
    """A network whose last maps and classifier are known."""
    pytest.importorskip('pytorch_grad_cam')
    model = timm.create_model('test_resnet', num_classes=2).eval()
    last = look_cam.target(model)
    image = torch.randn(1, 3, 64, 96)
    model.get_submodule(last).register_forward_hook(lambda *_: _quadrant(model.num_features))
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.weight[1, 0] = 1
    found = look_cam.activation(model, image, 1)
    assert found.shape == (64, 96)
    assert found[8, 12] == found.max() == pytest.approx(1, abs=1e-3)
    assert found[56, 84] == pytest.approx(0, abs=1e-3)


def _quadrant(channels: int) -> torch.Tensor:
    """Maps of which the first is bright in one quarter."""
    one = torch.zeros(1, channels, 4, 4)
    one[0, 0, :2, :2] = 1
    return one.requires_grad_()


@pytest.mark.parametrize(
    'name', [*smallest(maps=True, pictures=True), 'test_resnet', 'test_vit', 'swin_tiny_patch4_window7_224']
)
def test_class_activation_maps_of_every_family(name: str) -> None:
    pytest.importorskip('pytorch_grad_cam')
    slim = NARROW.get(family(name), {}) if name in backbones.list_models() else {}
    model = timm.create_model(name, num_classes=3, **slim).eval()
    sides = shape(name, 1, (64, 96))[-2:] if slim else model.pretrained_cfg['input_size'][1:]
    found = look_cam.activation(model, torch.randn(1, model.pretrained_cfg['input_size'][0], *sides), 1)
    assert found.shape == tuple(sides)
    assert 0 <= found.min() <= found.max() <= 1


def test_a_class_is_asked_for_by_name(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip('pytorch_grad_cam')
    weights, words = mm_runs.untrained('classification', tmp_path)
    args = ['cam', mm_runs.RUNNABLE['classification'], weights, str(PICTURE), '--out', str(tmp_path)]
    assert look.main([*args, '--classes', 'cat', 'ship', '--cfg-options', *words]) == 0
    assert 'for 2 of 10 classes' in capsys.readouterr().out
    assert _width(tmp_path / f'cam_{PICTURE.stem}.png') > 900
    assert 'did you mean cat' in _refused([*args, '--classes', 'catt', '--cfg-options', *words], capsys)


def test_a_map_wants_a_classifier(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip('pytorch_grad_cam')
    weights, words = mm_runs.untrained('detection', tmp_path)
    args = ['cam', mm_runs.RUNNABLE['detection'], weights, str(PICTURE), '--out', str(tmp_path)]
    assert 'TimmClassifier' in _refused([*args, '--cfg-options', *words], capsys)


def test_mistakes_are_said_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config, picture, text = mm_runs.RUNNABLE['detection'], str(PICTURE), tmp_path / 'text.jpg'
    text.write_text('not a picture')
    out = ['--out', str(tmp_path)]
    assert 'text.jpg' in _refused(['maps', 'test_resnet', str(text), *out], capsys)
    own = tmp_path / 'maps_test_resnet.png'
    Image.new('RGB', (64, 64)).save(own)
    before = own.read_bytes()
    assert 'would be written over' in _refused(['maps', 'test_resnet', str(own), '--img-size', '64', *out], capsys)
    assert own.read_bytes() == before
    assert 'did you mean' in _refused(['maps', 'test_resnat', picture, *out], capsys)
    assert '--level' in _refused(['maps', 'test_resnet', picture, '--level', '9', *out], capsys)
    assert 'text.jpg' in _refused(['maps', 'test_resnet', picture, '--checkpoint', str(text), *out], capsys)
    assert '--img-size' in _refused(['field', 'test_resnet', '--img-size', '8', *out], capsys)
    assert '--images' in _refused(['field', 'test_resnet', '--images', '0', *out], capsys)
    assert '--pictures' in _refused(['field', 'test_resnet', '--pictures', 'nowhere', *out], capsys)
    assert 'nothing.pth' in _refused(['errors', config, 'nothing.pth', *out], capsys)
    assert '--worst' in _refused(['errors', config, 'nothing.pth', '--worst', '0', *out], capsys)
    assert '--score-threshold' in _refused(['errors', config, 'x.pth', '--score-threshold', '7', *out], capsys)
