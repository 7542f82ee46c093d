"""Whole detectors as ONNX files: what they find is what mmdet finds."""

import copy
import functools
import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

import torch
from exported import check_plain, in_openvino, metadata, run
from spiking_reference import lively
from torch import nn

from backbones.deploy import export_onnx, fuse
from backbones.deploy.card import read_card
from backbones.deploy.detector import whole_detector
from backbones.deploy.suppress import keep_scores
from backbones.deploy.verify import Thresholds, compare_detections, compare_masks, compare_proposals
from registry import NARROW
from tools import export as tool
from tools import score

ROOT = Path(__file__).parents[1]
SINGLE = ('retinanet', 'fcos', 'atss', 'rtmdet')
STRICT = Thresholds(score=-1.0, iou=9.0)  # nothing is excused


# Comparing


def detections(*boxes: tuple[float, ...], places: int = 4) -> dict[str, np.ndarray]:
    """`dets` and `labels` of one picture from (x1, y1, x2, y2, score, label)."""
    dets, labels = np.zeros((1, places, 5)), np.full((1, places), -1)
    for i, box in enumerate(boxes):
        dets[0, i], labels[0, i] = box[:5], box[5]
    return {'dets': dets, 'labels': labels}


def test_detections_are_compared_as_sets() -> None:
    cuts = Thresholds(score=0.05, iou=0.5)
    a, b = (0, 0, 10, 10, 0.9, 0), (50, 50, 90, 90, 0.9, 1)
    both = detections(a, b)
    assert compare_detections(both, detections(b, a), 1e-4, cuts) == (0.0, 2)
    assert compare_detections(both, detections(a), 1e-4, cuts)[0] >= 0.1  # a box is missing
    assert compare_detections(detections(), detections(), 1e-4, cuts) == (0.0, 0)
    assert compare_detections(detections(a), detections(), 1e-4, cuts)[0] >= 1
    assert compare_detections(both, detections(a, (*b[:5], 2)), 1e-4, cuts)[0] >= 1  # another class
    moved = detections(a, (51, *b[1:]))
    assert compare_detections(both, moved, 1e-4, cuts)[0] == pytest.approx(1 / 90)
    assert not compare_detections(both, detections(a, (float('nan'), *b[1:])), 1e-4, cuts)[0] <= 1e-4
    # just above the threshold of the score, and overlapping by just the threshold: rounding decides
    assert compare_detections(detections(a, (*b[:4], 0.0501, 1)), detections(a), 1e-4, cuts) == (0.0, 1)
    half = (0, 0, 5, 10, 0.8, 0)
    assert compare_detections(detections(a, half), detections(a), 1e-4, cuts) == (0.0, 1)
    # the last place, for which two boxes come in question
    full = [(20 * i, 0, 20 * i + 10, 10, 0.9 - i / 10, 0) for i in range(4)]
    other = [*full[:3], (20, 50, 30, 60, 0.6, 0)]
    assert compare_detections(detections(*full), detections(*other), 1e-4, cuts) == (0.0, 3)


def test_masks_are_compared_for_boxes_that_belong_together() -> None:
    a, b = (0, 0, 10, 10, 0.9, 0), (50, 50, 90, 90, 0.8, 1)
    masks = np.zeros((1, 4, 2, 2))
    masks[0, 0], masks[0, 1] = 0.25, 0.75
    expected = {**detections(a, b), 'masks': masks}
    assert compare_masks(expected, {**detections(b, a), 'masks': masks[:, [1, 0, 2, 3]]}, 1e-4) == (0.0, 2)
    assert compare_masks(expected, {**detections(b, a), 'masks': masks}, 1e-4) == (0.5, 2)
    assert compare_masks(expected, {**detections(a), 'masks': masks}, 1e-4) == (0.0, 1)
    assert compare_masks(expected, {**detections(a, b), 'masks': masks[..., :1]}, 1e-4)[0] == float('inf')


def test_rounding_may_exchange_few_proposals() -> None:
    def proposals(*places: int) -> dict[str, np.ndarray]:
        boxes = [(20 * i, 0, 20 * i + 10, 10, 0.5, i % 2) for i in places]
        found = detections(*boxes, places=100)
        return {'proposals': found['dets'], 'levels': found['labels']}

    whole = proposals(*range(90))
    assert compare_proposals(whole, proposals(*range(2, 90), 98, 99), 1e-4) == (0.0, 88)
    assert compare_proposals(whole, proposals(*range(3, 90)), 1e-4)[0] == 1


def test_suppression_is_that_of_each_group() -> None:
    boxes = torch.tensor([[[0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 40], [31, 30, 41, 40]]], dtype=torch.float32)
    scores, group = torch.tensor([[0.9, 0.8, 0.3, 0.7]]), torch.tensor([[0, 0, 0, 1]])
    assert torch.equal(keep_scores(boxes, scores, group, 2, 0.5, 10), torch.tensor([[0.9, 0.0, 0.3, 0.7]]))
    assert torch.equal(keep_scores(boxes, scores, group, 2, 0.5, 1), torch.tensor([[0.9, 0.0, 0.0, 0.7]]))
    assert torch.equal(keep_scores(boxes, scores, None, 1, 0.5, 10), torch.tensor([[0.9, 0.0, 0.0, 0.7]]))


# Detectors of mmdet


def narrow_settings(kind: str) -> dict:
    """What makes the bundled config of a detector narrow and shallow: two levels of a backbone, few channels."""
    backbone = {'out_indices': (0, 1), **NARROW['lsnet']}
    norm = {'norm_cfg': {'num_groups': 4}}
    if kind == 'mask_rcnn':
        neck = {'in_channels': [16, 16], 'out_channels': 16, 'num_outs': 3, **norm}
        extractor = {'out_channels': 16, 'featmap_strides': [4, 8, 16], 'finest_scale': 16}
        return {
            'backbone': backbone,
            'neck': neck,
            'rpn_head': {'in_channels': 16, 'feat_channels': 16, 'anchor_generator': {'strides': [4, 8, 16]}},
            'roi_head': {
                'bbox_roi_extractor': extractor,
                'bbox_head': {'in_channels': 16, 'fc_out_channels': 32, 'num_classes': 3},
                'mask_roi_extractor': extractor,
                'mask_head': {'in_channels': 16, 'conv_out_channels': 16, 'num_convs': 1, 'num_classes': 3, **norm},
            },
            'test_cfg': {'rpn': {'nms_pre': 60, 'max_per_img': 50}, 'rcnn': {'max_per_img': 20}},
        }
    head = {'in_channels': 16, 'feat_channels': 16, 'stacked_convs': 1, **norm}
    if kind == 'fcos':
        head.update(strides=[8, 16], regress_ranges=((-1, 64), (64, 1e8)))
    else:
        head['anchor_generator'] = {'strides': [8, 16]}
    if kind == 'rtmdet':
        del head['norm_cfg']
    neck = {'in_channels': [16, 16], 'out_channels': 16, 'num_outs': 2}
    return {'backbone': backbone, 'neck': neck, 'bbox_head': head, 'test_cfg': {'nms_pre': 200, 'max_per_img': 30}}


def config_of(kind: str) -> Path:
    data = 'nuclei' if kind == 'mask_rcnn' else 'bccd'
    return ROOT / f'configs/detection/{kind}_lsnet_t_fpn_{data}.py'


@functools.cache
def narrow_config(kind: str) -> Any:
    pytest.importorskip('mmdet')
    from mmengine.config import Config

    config = Config.fromfile(config_of(kind))
    config.merge_from_dict({'model': narrow_settings(kind)})
    return config


def make_detector(kind: str = 'retinanet', parts: dict | None = None, **test_cfg) -> nn.Module:
    """A narrow detector of random weights that finds many things in anything."""
    config = copy.deepcopy(narrow_config(kind))
    from backbones.mm import build_model

    for key, part in (parts or {}).items():
        config.model[key] = part  # `update` would merge the two
    test = config.model.test_cfg
    (test.rcnn if kind == 'mask_rcnn' else test).update(test_cfg)
    torch.manual_seed(0)
    model = build_model(config)
    excite(model)
    return model.eval()


def excite(model: nn.Module) -> None:
    """Weights of the last layers of the heads that give other boxes and scores at every place."""
    deviations = {'cls': 0.3, 'reg': 0.2, 'centerness': 0.3, 'logits': 0.5}
    torch.manual_seed(1)
    for name, module in model.named_modules():
        last = re.search(r'(cls|reg|centerness|logits)(\.\d+)?$', name)
        if last is not None and isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=deviations[last[1]])
            if last[1] == 'cls':
                nn.init.constant_(module.bias, -1)


def pictures(count: int, height: int, width: int) -> list[torch.Tensor]:
    """Pieces of the bundled photographs, uint8 (3, height, width), in blue green red."""
    from torchvision.io import read_image

    paths = sorted((ROOT / 'data/bccd').rglob('*.jpg'))[:count]
    assert len(paths) == count
    return [read_image(str(path))[[2, 1, 0], 100 : 100 + height, 150 : 150 + width] for path in paths]


def predictions(model: nn.Module, images: list[torch.Tensor], most: int) -> tuple[torch.Tensor, dict]:
    """What the network is given for the pictures, and what mmdet's own `predict` finds in them.

    Masks are the true ones, (height, width) of the picture, one list a picture.
    """
    from mmdet.structures import DetDataSample

    shape = tuple(images[0].shape[1:])
    meta = {'img_shape': shape, 'ori_shape': shape, 'scale_factor': (1.0, 1.0)}
    samples = [DetDataSample(metainfo=meta) for _ in images]
    data = model.data_preprocessor({'inputs': images, 'data_samples': samples})
    with torch.no_grad():
        found = [s.pred_instances for s in model.predict(data['inputs'], data['data_samples'], rescale=False)]
    rows = [torch.cat([f.bboxes, f.scores[:, None], f.labels[:, None]], 1).tolist() for f in found]
    parts = [detections(*map(tuple, row), places=most) for row in rows]
    result = {key: np.concatenate([part[key] for part in parts]) for key in ('dets', 'labels')}
    if 'masks' in found[0]:
        result['pasted'] = [f.masks.numpy() for f in found]
    return data['inputs'], result


def check_found(expected: dict, given: dict[str, np.ndarray], least: int) -> None:
    """The same boxes without any excuse, in the same order, and masks that fill the same pixels."""
    error, count = compare_detections(expected, given, 1e-4, STRICT)
    assert error <= 1e-4
    assert count == (expected['labels'] >= 0).sum() == (given['labels'] >= 0).sum()
    assert count >= least
    assert np.abs(expected['dets'][..., 4] - given['dets'][..., 4]).max() <= 1e-4
    assert (given['dets'][given['labels'] < 0] == 0).all()
    if 'pasted' in expected:
        for i, pasted in enumerate(expected['pasted']):
            filled = given['labels'][i] >= 0
            ours = paste(given['masks'][i, filled], given['dets'][i, filled, :4], pasted.shape[1:])
            assert (ours != pasted).mean() <= 1e-4
            assert 0.05 < pasted.mean() < 0.95
        assert (given['masks'][given['labels'] < 0] == 0).all()


def paste(masks: np.ndarray, boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Masks (n, h, w) of boxes (n, 4) as pixels (n, height, width) of the picture, by mmdet."""
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    whole = _do_paste_mask(torch.from_numpy(masks)[:, None], torch.from_numpy(boxes), *shape, skip_empty=False)[0]
    return (whole >= 0.5).numpy()


CASES = {
    **{kind: (kind, {}) for kind in (*SINGLE, 'mask_rcnn')},
    'class agnostic': ('retinanet', {'nms': {'type': 'nms', 'iou_threshold': 0.4, 'class_agnostic': True}}),
    'least side, few candidates': ('retinanet', {'min_bbox_size': 30, 'nms_pre': 20, 'max_per_img': 50}),
    'high threshold': ('retinanet', {'score_thr': 0.3}),
    'high threshold and a factor': ('fcos', {'score_thr': 0.3, 'max_per_img': 300}),
    'mask_rcnn, class agnostic': ('mask_rcnn', {'nms': {'type': 'nms', 'iou_threshold': 0.4, 'class_agnostic': True}}),
}


@pytest.mark.parametrize(('kind', 'settings'), CASES.values(), ids=CASES.keys())
def test_what_is_found_is_what_mmdet_finds(kind: str, settings: dict) -> None:
    model = make_detector(kind, **settings)
    wrapped = whole_detector(fuse(model))
    for count, height, width in ((3, 120, 136), (1, 104, 88)):
        x, expected = predictions(model, pictures(count, height, width), wrapped.rule.most)
        with torch.no_grad():
            given = {name: value.numpy() for name, value in wrapped(x).items()}
        check_found(expected, given, least=3)

        if 'score_thr' in settings:  # it is for the class alone, without the factor
            scores = given['dets'][given['labels'] >= 0, 4]
            assert (scores.min() < wrapped.score_threshold) == ('factor_s8' in given)


# Files


# the tool below exports a RetinaNet
@pytest.mark.parametrize(
    'kind', ['fcos', 'mask_rcnn', *(pytest.param(k, marks=pytest.mark.full) for k in ('retinanet', 'atss', 'rtmdet'))]
)
def test_detector_as_a_file(kind: str, tmp_path: Path) -> None:
    """In ONNX Runtime, at other batches and sizes, and in OpenVINO where there is one."""
    model = make_detector(kind)
    classes = ['red', 'white', 'platelet']
    report = export_onnx(model, tmp_path / 'model.onnx', input_size=(3, 96, 128), normalize=True, classes=classes)
    check_plain(report.path)
    masks = ('masks',) if kind == 'mask_rcnn' else ()
    assert (report.kind, report.outputs) == ('detector', ('dets', 'labels', *masks))
    assert report.dynamic == ('batch', 'height', 'width')
    strides = [4, 8, 16] if masks else [8, 16]
    maps = {f'{what}_s{s}' for what in ('score', 'delta') for s in strides}
    maps |= {'factor_s8', 'factor_s16'} if kind in ('fcos', 'atss') else set()
    assert {check.output for check in report.checks} == {'dets', *masks, *maps} | ({'proposals'} if masks else set())
    assert all(check.boxes > 0 for check in report.checks if check.boxes is not None)
    assert not {'NonZero', 'Loop', 'If'} & set(report.operators)
    assert report.operators['NonMaxSuppression'] == (2 if masks else 1)
    written = metadata(report.path)
    assert (written['classes'], written['strides']) == (classes, strides)
    assert (written['mean'], written['channel_order']) == ([123.675, 116.28, 103.53], 'rgb')
    assert read_card(report.path)['input']['resize'] is None  # timm's rule is the backbone's, of a classifier
    second = in_openvino(report.path) if importlib.util.find_spec('openvino') else None
    for count, height, width in ((3, 120, 136), (1, 104, 88)):
        images = pictures(count, height, width)
        _, expected = predictions(model, images, 20 if masks else 30)
        x = torch.stack(images)[:, [2, 1, 0]].float()
        check_found(expected, dict(zip(report.outputs, run(report.path, x), strict=True)), least=3)
        if second is not None:
            found = second(x.numpy())
            check_found(expected, {name: found[name] for name in report.outputs}, least=3)


@pytest.mark.full
def test_proposals_and_spikes_of_a_file_are_its_own(tmp_path: Path) -> None:
    """Rounding may decide about both, so that the second stage is compared on those of the file."""
    backbone = {'type': 'TimmFeatures', 'model_name': 'spikformer_8_384', **NARROW['spikformer']}
    pytest.importorskip('mmdet')
    from backbones.mm import feature_channels

    channels = feature_channels('spikformer_8_384', **NARROW['spikformer'])
    neck = {'type': 'FPN', 'in_channels': channels, 'out_channels': 16, 'num_outs': 3}
    model = make_detector('mask_rcnn', {'backbone': backbone, 'neck': neck})
    lively(model.backbone.net).float()  # where nothing fires all scores are equal, and any of them may come first
    report = export_onnx(model, tmp_path / 'model.onnx', input_size=(3, 64, 96), dynamic='batch')
    names = {check.output for check in report.checks}
    assert {'dets', 'masks', 'proposals', 'score_s8'} <= names
    assert all(check.spikes is not None for check in report.checks)
    assert all(check.boxes > 0 for check in report.checks if check.output in ('dets', 'masks', 'proposals'))


@pytest.mark.full
def test_neck_that_doubles_its_maps_is_compared_at_sides_that_its_strides_divide(tmp_path: Path) -> None:
    neck = {'type': 'CSPNeXtPAFPN', 'in_channels': [16, 16], 'out_channels': 16, 'num_csp_blocks': 1}
    model = make_detector('rtmdet', {'neck': neck})
    report = export_onnx(model, tmp_path / 'model.onnx', input_size=(3, 96, 128))
    assert report.dynamic == ('batch', 'height', 'width')
    assert {side % 16 for check in report.checks for side in check.shape[2:]} == {0}
    assert len({check.shape for check in report.checks}) == 3


def refused(model: nn.Module, message: str, path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        export_onnx(model, path / 'model.onnx', input_size=(3, 128, 160))
    assert not list(path.iterdir())


def test_other_suppressions_are_refused(tmp_path: Path) -> None:
    soft = {'type': 'soft_nms', 'iou_threshold': 0.5}
    refused(make_detector(nms=soft), r"RetinaHead lacks test_cfg.nms=dict\(type='nms'", tmp_path)
    refused(make_detector(nms_pre=-1), 'RetinaHead lacks test_cfg with nms_pre above 0', tmp_path)
    refused(make_detector('mask_rcnn', nms=soft), r"StandardRoIHead lacks test_cfg.nms=dict\(type='nms'", tmp_path)
    with pytest.raises(ValueError, match='give input_size'):
        export_onnx(make_detector(), tmp_path / 'model.onnx')
    with pytest.raises(ValueError, match=r'nms=False takes a detector of one stage, but .* MaskRCNN'):
        export_onnx(make_detector('mask_rcnn'), tmp_path / 'model.onnx', input_size=(3, 96, 128), nms=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('kind', 'part', 'other'),
    [
        ('retinanet', 'bbox_head', 'PAAHead'),
        ('atss', 'bbox_head', 'GFLHead'),
        ('mask_rcnn', 'roi_head', 'CascadeRoIHead'),
        ('mask_rcnn', 'roi_head', 'PointRendRoIHead'),
        ('mask_rcnn', 'rpn_head', 'GARPNHead'),
        ('mask_rcnn', 'roi_head.bbox_roi_extractor', 'GenericRoIExtractor'),
    ],
)
def test_detectors_that_predict_in_another_way_are_refused(kind: str, part: str, other: str, tmp_path: Path) -> None:
    model = make_detector(kind)
    from mmdet.registry import MODELS

    changed = model.get_submodule(part)
    changed.__class__ = MODELS.get(other)  # all that tells them apart is what they do with the same parts
    refused(model, f'must predict as RetinaNet, .* but {other} (lacks .* and )?has its own ', tmp_path)


def test_parts_of_another_meaning_are_refused(tmp_path: Path) -> None:
    from mmengine.registry import TASK_UTILS

    model = make_detector()
    model.bbox_head.bbox_coder = TASK_UTILS.build({'type': 'mmdet.TBLRBBoxCoder'})
    refused(model, 'RetinaHead lacks anchors with deltas', tmp_path)
    model = make_detector('fcos')
    model.bbox_head.prior_generator.grid_priors = lambda sizes, **_: [torch.zeros(h * w, 2) for h, w in sizes]
    refused(model, 'FCOSHead lacks anchors with deltas .* or points with distances', tmp_path)
    model = make_detector('mask_rcnn')
    model.roi_head.bbox_roi_extractor.roi_layers[0].pool_mode = 'max'
    refused(model, 'SingleRoIExtractor lacks RoIAlign layers that average', tmp_path)


def test_tool_exports_a_detector(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = make_detector()
    config = tmp_path / 'config.py'
    config.write_text(f"_base_ = '{config_of('retinanet')}'\nmodel = {narrow_settings('retinanet')!r}\n")
    checkpoint, output = tmp_path / 'weights.pth', tmp_path / 'model.onnx'
    torch.save({'state_dict': model.state_dict()}, checkpoint)
    arguments = ['--config', str(config), '--checkpoint', str(checkpoint), '-o', str(output)]
    assert tool.main([*arguments, '--img-size', '96', '128', '--static', '--batch-size', '1']) == 0
    assert metadata(output)['classes'] == ['RBC', 'WBC', 'Platelets']
    assert metadata(output)['input_size'] == [3, 96, 128]
    # nothing of mmdet's own prediction has a part in it
    assert 'Compared with the plain form' in ' '.join(capsys.readouterr().out.split())
    assert (read_card(output)['reference'], read_card(output)['metric']) == ('plain form', None)


def test_boxes_are_scored_by_mmdet(tmp_path: Path) -> None:
    pytest.importorskip('mmdet')
    model = make_detector()
    from mmengine.config import Config

    config = Config.fromfile(ROOT / 'configs/detection/retinanet_lsnet_t_fpn_bccd.py')
    config.test_dataloader.dataset.data_root = f'{ROOT / config.test_dataloader.dataset.data_root}/'
    config.test_evaluator.ann_file = str(ROOT / config.test_evaluator.ann_file)
    config.test_dataloader.dataset.pipeline[1].scale = (160, 120)
    assert score.missing(config) is None
    report = export_onnx(model, tmp_path / 'model.onnx', input_size=(3, 120, 160), normalize=True, check=False)
    metric = score.measure(config, model, report.path, images=2)
    assert (metric['name'], metric['pictures']) == ('coco/bbox_mAP', 2)
    assert metric['all']['pytorch'].keys() == metric['all']['onnxruntime'].keys() != set()
    raw = export_onnx(model, tmp_path / 'raw.onnx', input_size=(3, 120, 160), nms=False)
    assert raw.outputs == ('score_s8', 'score_s16', 'delta_s8', 'delta_s16')
    assert [output['stride'] for output in read_card(raw.path)['outputs']] == [8, 16, 8, 16]
    assert {check.output for check in raw.checks} == set(raw.outputs)
    assert not {'NonMaxSuppression', 'TopK'} & set(raw.operators)
    with pytest.raises(ValueError, match='a file that gives boxes or classes'):
        score.measure(config, model, raw.path, images=2)


def test_masks_are_scored_by_mmdet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the file fill the pixels of the picture that was read as mmdet's own do."""
    pytest.importorskip('mmdet')
    config = copy.deepcopy(narrow_config('mask_rcnn'))
    roi_head = config.model.roi_head
    roi_head.bbox_head.num_classes = roi_head.mask_head.num_classes = 1  # nuclei alone
    model = make_detector('mask_rcnn', {'roi_head': roi_head})
    from mmdet.evaluation.metrics import CocoMetric

    config.test_dataloader.dataset.data_root = f'{ROOT / config.test_dataloader.dataset.data_root}/'
    config.test_evaluator.ann_file = str(ROOT / config.test_evaluator.ann_file)
    next(step for step in config.test_dataloader.dataset.pipeline if 'scale' in step).scale = (160, 120)
    report = export_onnx(model, tmp_path / 'model.onnx', input_size=(3, 120, 160), check=False)
    seen, process = [], CocoMetric.process

    def watched(self: Any, data_batch: Any, data_samples: Any) -> None:
        seen.append(data_samples[0]['pred_instances'])
        process(self, data_batch, data_samples)

    monkeypatch.setattr(CocoMetric, 'process', watched)
    metric = score.measure(config, model, report.path, images=2)
    ways = metric['all'].values()
    assert all({'coco/bbox_mAP', 'coco/segm_mAP'} <= values.keys() for values in ways)
    for wanted, given in zip(seen[::2], seen[1::2], strict=True):
        assert len(wanted['masks']) and wanted['masks'].shape == given['masks'].shape
        torch.testing.assert_close(given['bboxes'], wanted['bboxes'], rtol=1e-4, atol=1e-2)
        assert (given['masks'] == wanted['masks']).float().mean() > 0.999
    gaps = [abs(100 * (a - b)) for a, b in zip(*(values.values() for values in ways), strict=True)]
    assert metric['gap'] <= max(gaps)
    found = {'pytorch': {'coco/bbox_mAP': 0.5, 'coco/segm_mAP': 0.4}, 'onnxruntime': {'coco/bbox_mAP': 0.5}}
    assert score._widest(found) == ('coco/segm_mAP', [40.0, 0.0])
    assert score._summary(found, 2, 2)['gap'] == 40.0
