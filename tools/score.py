"""The metric of a config on its test pictures, with PyTorch and with the exported file, by mmengine's own evaluators.

`tools/export.py --config ... --metric` calls it before a file is put in its place.
"""

import contextlib
import copy
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

TOLERANCE = 0.1  # points that PyTorch and the file may differ by; mmdet rounds its own to as much
_HEADLINES = ('bbox_mAP', 'mIoU', 'accuracy/top1')


def missing(config: Any) -> str | None:
    """Why the metric of a config cannot be measured here, or None."""
    loader, evaluator = config.get('test_dataloader'), config.get('test_evaluator')
    if not loader or not evaluator:
        return 'the config sets no test_dataloader and test_evaluator'
    dataset = loader['dataset']
    if 'data_root' not in dataset and 'ann_file' not in dataset:
        return 'the config does not say where its test data lie'
    prefix = dataset.get('data_prefix') or {}
    parts = [dataset.get('ann_file'), *(prefix.values() if isinstance(prefix, dict) else [prefix])]
    paths = [Path(os.path.join(dataset.get('data_root') or '', part)) for part in parts if part]
    gone = next((path for path in paths if not path.exists()), None)
    return f'there is no {gone}' if gone else None


def measure(
    config: Any,
    model: Any,
    path: Path,
    images: int | None = None,
    device: str = 'cpu',
    progress: Callable[[Sequence[int]], Sequence[int]] = lambda chosen: chosen,
    tolerance: float | None = TOLERANCE,
) -> dict[str, Any]:
    """COCO AP of a detector, mIoU of a segmentor or accuracy of a classifier, with PyTorch and with its exported file.

    A file that gives masks of boxes is scored by these too where the evaluator asks for it.

    A file that gives classes of pixels (`mask`) is scored by classes that were decided at the size of its input, and so
    is PyTorch beside it; otherwise mmseg resizes logits to the size of the picture first.

    Args:
        config: Config with `test_dataloader` and `test_evaluator`.
        model: Its model in eval mode; it is on the CPU again afterwards.
        path: The exported file, `.onnx` or OpenVINO's `.xml`.
        images: Pictures to take, evenly spaced; all if None.
        device: Where PyTorch runs; ONNX Runtime follows if its build can, and OpenVINO stays on the processor.
        progress: Wraps the numbers of the pictures as they are gone through.
        tolerance: Points that both may differ by; None for a file of less precision, which is measured and not judged.

    Returns:
        `name` of the metric, its values in percent by `pytorch` and `onnxruntime` (or `openvino`), the `gap` (that of
        the masks where it is larger), `pictures` that were taken `of` how many, and all that the evaluators gave
        (`all`).

    Raises:
        ValueError: The data are not there, the file does not take the pictures or, as `Disagreement`, both differ by
            more than the tolerance; a spiking network's may, since its spikes follow the rounding.
    """
    from backbones.deploy.spikes import neurons
    from backbones.deploy.verify import Disagreement

    reason = missing(config)
    if reason:
        raise ValueError(f'the metric needs the test data of the config, but {reason}.')
    with quiet():
        run = _File(path, device)
        dataset, chosen, evaluators = _prepare(config, images, ('pytorch', run.runtime), 'masks' in run.outputs)
        try:
            model.to(device)
            for index in progress(chosen):
                _search(dataset[index], model, run, evaluators)
        finally:
            model.cpu()
        found = {name: dict(evaluator.evaluate(len(chosen))) for name, evaluator in evaluators.items()}
    result = _summary(found, len(chosen), len(dataset))
    if tolerance is not None and result['gap'] > tolerance * 1.001 and not neurons(model):
        name, values = _widest(found)
        raise Disagreement(
            f'{name} must be the same to {tolerance} points, but on {len(chosen)} pictures it is '
            f'{values[0]:.2f} with PyTorch and {values[1]:.2f} with the exported file.'
        )
    return result


def prepared(config: Any, model: Any, paths: Sequence[Path], normalize: bool) -> list[Any]:
    """Pictures as the exported file takes them, arrays (1, C, H, W), read and resized as the test pipeline does it.

    Args:
        config: Config with `test_dataloader`.
        model: Its model.
        paths: Files.
        normalize: Whether mean and standard deviation are taken off; else the file does it.

    Raises:
        ValueError: The config has no test pipeline.
    """
    if not config.get('test_dataloader'):
        raise ValueError('pictures are prepared as the test_dataloader of a config says, but this config sets none.')
    from mmengine.dataset import Compose
    from mmengine.registry import init_default_scope

    init_default_scope(config.get('default_scope', 'mmengine'))
    steps = [step for step in config.test_dataloader['dataset']['pipeline'] if 'LoadAnnotations' not in step['type']]
    pipeline, found = Compose(steps), []
    for path in paths:
        data: Any = pipeline({'img_path': str(path), 'img_id': 0, 'reduce_zero_label': False, 'seg_fields': []})
        data = {'inputs': [data['inputs']], 'data_samples': [data['data_samples']]}
        image = model.data_preprocessor(data, False)['inputs']
        if not normalize:
            image = image * model.data_preprocessor.std + model.data_preprocessor.mean
        found.append(image.numpy())
    return found


def headline(keys: Sequence[str]) -> str:
    """The metric that stands for the rest."""
    return next((key for end in _HEADLINES for key in keys if key.endswith(end)), keys[0] if keys else 'coco/bbox_mAP')


def headlines(keys: Sequence[str]) -> list[str]:
    """The same, with that of masks before it where there is one."""
    return [*(key for key in keys if key.endswith('segm_mAP')), headline(keys)]


def percent(name: str, value: float) -> float:
    """A metric in percent: mmdet gives shares, mmseg and mmpretrain percent."""
    return 100 * value if 'mAP' in name else value


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the log lines, tables and warnings of other libraries."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(before)


def _prepare(
    config: Any, images: int | None, ways: Sequence[str], masks: bool
) -> tuple[Any, list[int], dict[str, Any]]:
    """Test data, the numbers of the pictures to take, and an evaluator for each way."""
    from mmengine.evaluator import Evaluator
    from mmengine.registry import DATASETS, init_default_scope

    init_default_scope(config.get('default_scope', 'mmengine'))
    dataset = DATASETS.build(copy.deepcopy(config.test_dataloader['dataset']))
    count = len(dataset) if images is None else min(images, len(dataset))
    chosen = [i * len(dataset) // count for i in range(count)]
    if not chosen:
        raise ValueError(f'the metric needs at least one picture, but {images} of {len(dataset)} were asked for.')
    evaluators, entries = {}, copy.deepcopy(_listed(config.test_evaluator))
    for name in ways:
        evaluators[name] = Evaluator([entry if masks else _boxes_alone(entry) for entry in entries])
        evaluators[name].dataset_meta = dataset.metainfo
        for metric in evaluators[name].metrics:
            if hasattr(metric, 'img_ids'):  # COCO's would count every other picture as one where nothing was found
                metric.img_ids = [dataset.get_data_info(i)['img_id'] for i in chosen]
    return dataset, chosen, evaluators


def _listed(evaluator: Any) -> list[Any]:
    return list(evaluator) if isinstance(evaluator, list | tuple) else [evaluator]


def _boxes_alone(entry: Any) -> Any:
    """A COCO metric without masks, which a file of boxes does not give."""
    entry = copy.deepcopy(entry)
    if 'Coco' in entry['type']:
        entry['metric'] = 'bbox'
    return entry


class _File:
    """An exported file as it is run: normalised pictures in, outputs by name out."""

    def __init__(self, path: Path, device: str) -> None:
        import json

        import torch

        self.runtime = 'openvino' if path.suffix == '.xml' else 'onnxruntime'
        written = self._open_xml(path) if self.runtime == 'openvino' else self._open_onnx(path, device)
        if self.outputs[0] not in ('dets', 'logits', 'mask', 'output'):
            raise ValueError(f'the metric needs a file that gives boxes or classes, but it gives {self.outputs}.')
        self.scale = None
        if json.loads(written.get('normalize', 'false')):
            self.scale = tuple(torch.tensor(json.loads(written[key]))[:, None, None] for key in ('mean', 'std'))

    def _open_onnx(self, path: Path, device: str) -> Mapping[str, str]:
        """Learn how it is run; gives its metadata."""
        import onnxruntime
        import torch

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        settings.log_severity_level = 3
        wanted = ['CUDAExecutionProvider'] if torch.device(device).type == 'cuda' else []
        providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
        session = onnxruntime.InferenceSession(os.fspath(path), settings, [*providers, 'CPUExecutionProvider'])
        self.shape = session.get_inputs()[0].shape
        self.outputs = [output.name for output in session.get_outputs()]
        self.run = lambda image: dict(zip(self.outputs, session.run(self.outputs, {'input': image}), strict=True))
        return session.get_modelmeta().custom_metadata_map

    def _open_xml(self, path: Path) -> Mapping[str, str]:
        """The same for OpenVINO, which has the metadata of the ONNX file that it was made from."""
        from backbones.deploy.openvino import compiled, require

        model = require('openvino').Core().read_model(os.fspath(path))
        self.shape = ['?' if dim.is_dynamic else dim.get_length() for dim in model.input().partial_shape]
        self.outputs = [output.get_any_name() for output in model.outputs]
        self.run = compiled(path, (), self.outputs)
        return {key: model.get_rt_info(['framework', key]).value for key in model.get_rt_info(['framework']).value}

    def __call__(self, image: Any) -> dict[str, Any]:
        import torch

        image = image.cpu()
        fits = all(isinstance(a, str) or a == b for a, b in zip(self.shape[1:], image.shape[1:], strict=True))
        if not fits:
            raise ValueError(
                f'the metric needs a file that takes the test pictures, but one has the shape {tuple(image.shape)} and '
                f'the file takes {self.shape}: leave height and width free, or give --no-metric.'
            )
        if self.scale is not None:
            image = image * self.scale[1] + self.scale[0]
        batch = 1 if isinstance(self.shape[0], str) else self.shape[0]
        given = self.run(image.expand(batch, -1, -1, -1).numpy())
        return {name: torch.from_numpy(value[:1]) for name, value in given.items()}


def _search(data: Any, model: Any, run: _File, evaluators: Mapping[str, Any]) -> None:
    """One picture, both ways."""
    import torch

    data = {'inputs': [data['inputs']], 'data_samples': [data['data_samples']]}
    with torch.no_grad():
        batch = model.data_preprocessor(data, False)
        samples = [copy.deepcopy(batch['data_samples']) for _ in evaluators]
        given = run(batch['inputs'])
        if 'dets' in given:
            found = model.predict(batch['inputs'], samples[0]), _boxes(given, samples[1], model)
        elif 'output' in given:
            found = model.predict(batch['inputs'], samples[0]), _classed(given['output'], samples[1])
        else:
            found = _classes(batch['inputs'], given, model, samples)
    for evaluator, results in zip(evaluators.values(), found, strict=True):
        evaluator.process(data_samples=results, data_batch=data)


def _boxes(given: dict[str, Any], samples: list[Any], model: Any) -> list[Any]:
    """Boxes, and masks if there are any, of the file in the pixels of the picture that was read."""
    from mmengine.structures import InstanceData

    dets, labels = given['dets'][0], given['labels'][0]
    there = labels >= 0
    dets, labels = dets[there], labels[there]
    found: Any = InstanceData(bboxes=dets[:, :4].clone(), scores=dets[:, 4], labels=labels)
    if 'masks' in given:  # of the box's class; mmdet takes one for each, and scales the boxes on the way
        head, rule = model.roi_head.mask_head, model.roi_head.test_cfg
        classes = 1 if head.class_agnostic else head.num_classes
        masks = given['masks'][0][there, None].expand(-1, classes, -1, -1)
        head.predict_by_feat((masks,), [found], [samples[0].metainfo], rule, rescale=True, activate_map=True)
    else:
        x, y = samples[0].scale_factor
        found.bboxes /= dets.new_tensor([x, y, x, y])
    samples[0].pred_instances = found
    return samples


def _classed(logits: Any, samples: list[Any]) -> list[Any]:
    """The class of a picture."""
    samples[0].set_pred_score(logits[0].softmax(-1)).set_pred_label(logits[0].argmax())
    return samples


def _classes(image: Any, given: dict[str, Any], model: Any, samples: list[list[Any]]) -> tuple[list[Any], list[Any]]:
    """Classes of the pixels of the picture that was read."""
    from torch.nn.functional import one_hot

    from backbones.deploy.segmentor import Segmentor

    logits = model.inference(image, [sample.metainfo for sample in samples[0]])
    other = given.get('logits')
    if other is None:  # the classes as logits, which mmseg can resize
        own = Segmentor(model).decide(logits)
        logits, other = (one_hot(mask, model.num_classes).movedim(-1, 1).float() for mask in (own, given['mask']))
    return model.postprocess_result(logits, samples[0]), model.postprocess_result(other.to(image), samples[1])


def _summary(found: dict[str, dict[str, float]], pictures: int, of: int) -> dict[str, Any]:
    """The two values that stand for the rest, in percent; 0 where nothing was found at all."""
    name = headline([key for values in found.values() for key in values])
    values = {way: percent(name, float(metrics.get(name, 0.0))) for way, metrics in found.items()}
    first, second = _widest(found)[1]
    rest = {way: {key: float(value) for key, value in metrics.items()} for way, metrics in found.items()}
    return {'name': name, **values, 'gap': abs(first - second), 'pictures': pictures, 'of': of, 'all': rest}


def _widest(found: dict[str, dict[str, float]]) -> tuple[str, list[float]]:
    """Which of the metric that stands for the rest, and that of masks, is farther apart, and its values in percent."""
    keys = [key for metrics in found.values() for key in metrics]
    both = {
        name: [percent(name, float(metrics.get(name, 0.0))) for metrics in found.values()] for name in headlines(keys)
    }
    return max(both.items(), key=lambda item: abs(item[1][0] - item[1][1]))
