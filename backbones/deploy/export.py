"""Write a model as an ONNX file that was run and compared before it was allowed to exist.

Four kinds of model are told apart by what they give: one tensor (`output`), a pyramid of maps (`feat_s8`, `feat_s16`,
..., named by stride), for a detector boxes (`dets`, `labels`) and perhaps `masks`, or, for a segmentor, `logits` or a
`mask`. The input is called `input`. Beside the file lies its card (`card.py`), a JSON file.
"""

import copy
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import common
from onnxscript import optimizer
from torch import nn

from ..layers.mixed_lif import images_apart
from ..layers.spiking import clip_steps
from . import sizes
from .beside import beside, writing
from .card import card_path, check_target, describe_file, place
from .detector import is_detector
from .fuse import fuse
from .operators import runtimes
from .segmentor import is_segmentor
from .spikes import Drift, runs
from .translate import translations
from .verify import Check, Disagreement, Thresholds, verify, verify_fused
from .wrap import Exportable, Kind, as_text, describe, pretrained_cfg

__all__ = ['Disagreement', 'ExportReport', 'export_onnx']

Dynamic = bool | Literal['batch']
OPSETS = range(18, 24)  # 18 is the oldest that torch's exporter writes
# What a runtime may lack: transforms, control flow, and values that are no tensors.
FORBIDDEN = re.compile('DFT|STFT|Loop|If|Scan|Optional.*|.*Sequence.*')
SHOWN = 16  # sample pictures that are compared at a time
COMPLEX = (onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128)


@dataclass
class ExportReport:
    """What was written and what was compared.

    Attributes:
        path: The file.
        kind: 'classifier', 'pyramid', 'detector' or 'segmentor'.
        outputs: Names of the outputs.
        opset: Version of the ONNX operators.
        operators: Operator -> how often.
        size: Bytes of the file.
        dynamic: Names of the input's axes that are free.
        checks: One entry per run and output; none without `check`.
        drift: Runtime -> how far the file drifts from a spiking model on `samples`, each with its own spikes.
        fusion: The fused model against the model in float64, one entry per output; none without `check` or `fused`.
        metric: What `measure` gave.
    """

    path: Path
    kind: Kind
    outputs: tuple[str, ...]
    opset: int
    operators: dict[str, int]
    size: int
    dynamic: tuple[str, ...]
    checks: list[Check]
    drift: dict[str, Drift] = field(default_factory=dict)
    fusion: list[Check] = field(default_factory=list)
    metric: dict[str, Any] | None = None

    @property
    def card(self) -> Path:
        """The JSON file beside it."""
        return card_path(self.path)

    @property
    def nodes(self) -> int:
        """Number of operators in the file."""
        return sum(self.operators.values())


def export_onnx(
    model: nn.Module,
    path: str | os.PathLike,
    *,
    input_size: Sequence[int] | None = None,
    batch_size: int = 2,
    dynamic: Dynamic = True,
    opset: int = 18,
    fused: bool = True,
    normalize: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    classes: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    check: bool = True,
    check_sizes: Sequence[tuple[int, int]] | None = None,
    samples: torch.Tensor | None = None,
    tolerance: float = 1e-4,
    argmax: bool = False,
    nms: bool = True,
    resize: Mapping[str, Any] | None = None,
    measure: Callable[[Path], Mapping[str, Any]] | None = None,
) -> ExportReport:
    """Export a classifier, a feature pyramid, a whole detector or segmentor, and compare the file with the model.

    The file is written beside `path` and renamed when ONNX Runtime gives what PyTorch gives, at two batches and two
    sizes other than the traced ones (where these are free) and at the size that it is meant for, and when the fused
    model gives in float64 what the model gives. It holds plain ONNX operators only. Its card, a JSON file of the same
    name, is written with it.

    Args:
        model: A float32 model in eval mode; it stays as it is. Neurons that mix the images of a batch keep them
            apart in the file.
        path: Where the file goes.
        input_size: (channels, height, width) that the file is meant for; the model's own (`pretrained_cfg`) if None.
            A file of a model of clips takes (batch, steps, channels, height, width), and its steps are not free.
        batch_size: Batch to trace with; at least 2 where the batch is free, since torch takes 1 for a constant.
        dynamic: True: batch, height and width are free; 'batch': the batch alone; False: nothing.
        opset: Version of the ONNX operators, 18 to 23; 21 at most for a detector of two stages.
        fused: Re-parameterise a copy of the model first.
        normalize: Put (x - mean) / std into the graph; without it the input must be normalised already.
        mean: Mean of each channel, in the scale of the pictures; the model's own if None.
        std: Standard deviation of each channel; the model's own if None.
        classes: Names of the classes, for the metadata; the model's own if None.
        metadata: Further entries, or other values for those that are written anyway (model, tag, licence, ...).
        check: Run and compare the file.
        check_sizes: (height, width) to compare at where they are free; two others and that of `input_size` if None.
        samples: Pictures (N, C, H, W) as the file takes them, to compare at too.
        tolerance: Largest error of an output, relative to its largest value.
        argmax: A segmentor gives the class of each pixel in place of logits.
        nms: A detector gives boxes; else the maps of its head, by stride.
        resize: How a picture gets its size, for the card. If None, the model's own rule (`pretrained_cfg`); of a
            detector or segmentor, whose config says it, none.
        measure: Called with the finished file before it is in its place; what it gives goes into report and card. If it
            raises, there is no file.

    Returns:
        What was written and compared.

    Raises:
        ValueError: An argument that cannot be, a model of another kind, an operator that is not plain ONNX, or, as
            `Disagreement`, outputs of the file that differ from the model's; then there is no file.
        OSError: The file cannot be written; then there is none, and an older one is left as it was.
    """
    path, model = Path(path), images_apart(model)
    facts = describe(model, mean, std, classes)
    if argmax and not is_segmentor(model):
        raise ValueError(f'argmax=True takes a segmentor, but {type(model).__name__} has no decode_head.')
    if not nms and not is_detector(model):
        raise ValueError(f'nms=False takes a detector, but {type(model).__name__} has no bbox_head.')
    if not nms and hasattr(model, 'roi_head'):
        raise ValueError(
            f'nms=False takes a detector of one stage, but the second stage of {type(model).__name__} works on boxes '
            'that the first has suppressed: leave nms as it is.'
        )
    what = {'argmax': argmax, 'nms': nms}
    size = sizes.input_size(model, input_size, dynamic)
    _check_arguments(model, path, batch_size, dynamic, opset, facts if normalize else None)
    network = (fuse(model) if fused else copy.deepcopy(model)).cpu()
    steps = clip_steps(network)
    example = torch.randn(1, *steps, *size, generator=torch.Generator().manual_seed(0))
    module = Exportable(network, example, *((facts['mean'], facts['std']) if normalize else ()), **what)
    shape, last = (batch_size, *steps, *size), len(steps) + 3
    axes = {True: {0: 'batch', last - 1: 'height', last: 'width'}, 'batch': {0: 'batch'}, False: {}}[dynamic]
    proto = _trace(module, shape, axes, opset)
    facts.update(
        input_size=size,
        num_steps=steps[0] if steps else None,
        strides=module.strides or None,
        dynamic=list(axes.values()),
        normalize=normalize,
        **_versions(),
    )
    onnx.helper.set_model_props(proto, as_text({**facts, **(metadata or {})}))
    inputs = _inputs(module, shape, axes, check_sizes) if check else []
    least = min((picture.shape[-2:] for picture in inputs), key=math.prod, default=())
    fusion = _check_fused(model, (1, *steps, size[0], *least)) if check and fused else []
    shown = [] if samples is None or not check else _parts(samples.float(), None if axes else batch_size)
    inputs += shown
    drift = {}
    if module.spikes and shown:
        drift = runs(proto.SerializeToString(), module.reference, module.names[0], module.spikes, shown)
    with beside(path) as part:
        try:
            with writing(path):
                checks = _compare(proto, part, module, inputs, tolerance)
        except Disagreement as error:
            if dynamic is not True:
                raise
            raise Disagreement(f"{error} If the model takes its size for a constant, dynamic='batch' helps.") from error
        metric = None if measure is None else dict(measure(part))
        rule = resize or (None if module.kind in ('detector', 'segmentor') else _resize(model))
        card = describe_file(proto, module.kind, {**facts, **(metadata or {})}, checks, fusion, rule, metric)
        with writing(path):
            place(part, path, card)
    operators = dict(Counter(node.op_type for node in proto.graph.node).most_common())
    written = path, module.kind, module.names, opset, operators, path.stat().st_size, tuple(axes.values())
    return ExportReport(*written, checks, drift, fusion, metric)


def _parts(samples: torch.Tensor, batch: int | None) -> list[torch.Tensor]:
    """Sample pictures as the file takes them: some at a time, or in batches of its own, without what is left over."""
    if batch and len(samples) < batch:
        raise ValueError(f'samples must hold a batch of {batch} pictures at least, but hold {len(samples)}.')
    parts = samples.split(batch or SHOWN)
    return [part for part in parts if len(part) == batch or not batch]


def _check_fused(model: nn.Module, shape: tuple[int, ...]) -> list[Check]:
    """Compare the fused model with the model in float64."""
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = copy.deepcopy(model).cpu().double()
    return verify_fused(Exportable(plain, image), Exportable(fuse(plain), image), image)


def _resize(model: nn.Module) -> dict[str, Any] | None:
    """timm's rule: the shorter side ('crop') or both ('squash') to the input's divided by `crop_pct`, then the middle.

    None where there is none, or one that no card can say: timm's 'border' pads the shorter side on both ends.
    """
    cfg = pretrained_cfg(model)
    mode = {'center': 'crop', 'squash': 'squash'}.get(cfg.get('crop_mode') or 'center')
    if 'crop_pct' not in cfg or mode is None:
        return None
    return {'mode': mode, 'interpolation': cfg.get('interpolation'), 'crop_pct': cfg['crop_pct']}


def _check_arguments(
    model: nn.Module, path: Path, batch_size: int, dynamic: Dynamic, opset: int, scale: Mapping[str, Any] | None
) -> None:
    """Everything that can be told before the model is traced; `scale` has the mean and std that are asked for."""
    training = next((name or 'the model' for name, module in model.named_modules() if module.training), None)
    if training is not None:
        raise ValueError(
            f'A model must be in eval mode to be exported, but {training} is not: call model.eval() first.'
        )
    kinds = {t.dtype for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()} - {torch.float32}
    if kinds:
        raise ValueError(
            f'A model must be float32 to be exported, but it holds {kinds.pop()}: call model.float() first.'
        )
    if dynamic not in (True, False, 'batch'):
        raise ValueError(f"dynamic must be True, 'batch' or False, but got {dynamic!r}.")
    if batch_size < (2 if dynamic else 1):
        raise ValueError(
            f'batch_size must be at least {2 if dynamic else 1}, but got {batch_size}'
            + (': a batch of 1 is not traced as a free one, give 2 or dynamic=False.' if dynamic else '.')
        )
    if opset not in OPSETS:
        raise ValueError(f'opset must lie between {OPSETS[0]} and {OPSETS[-1]}, but got {opset}.')
    if not path.parent.is_dir() or path.is_dir():
        raise ValueError(f'path must name a file in a folder that exists, but got {path}.')
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f'path must name a file in a folder that can be written to, but got {path}.')
    check_target(path)
    if scale is not None and not (scale['mean'] and scale['std']):
        raise ValueError(
            'normalize=True needs mean and std, but the model does not know them: give mean=... and std=...'
        )


def _versions() -> dict[str, str]:
    from .. import __version__

    return {'backbones_version': __version__, 'torch_version': torch.__version__}


def _trace(module: Exportable, shape: tuple[int, ...], axes: dict[int, str], opset: int) -> onnx.ModelProto:
    """The graph of the module with its axes named, cleaned of everything but operators and constants."""
    if len(axes) > 1:
        shape = (*shape[:-2], *sizes.traced_size(module, *shape[-2:]))
    free = dict.fromkeys(axes, torch.export.Dim.DYNAMIC)
    # shapes of symbols are dearer to take out of the tracer's cache than to work out again
    cached = torch._dynamo.config.patch(fake_tensor_cache_enabled=not axes)
    try:
        with warnings.catch_warnings(), torch.no_grad(), cached:
            warnings.simplefilter('ignore')  # about the insides of torch's exporter
            program = torch.export.export(module, (torch.zeros(shape),), dynamic_shapes=(free or None,), strict=False)
            exported = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=opset,
                input_names=['input'],
                output_names=[*module.names, *module.extra],
                custom_translation_table=translations(),
                optimize=False,
                verbose=False,
            )
            assert exported is not None
            _optimize(exported.model)
    except Exception as error:
        what = f'with free {", ".join(axes.values())}' if axes else 'at all'
        hint = {0: '', 1: ' (try dynamic=False)'}.get(len(axes), " (try dynamic='batch' or False)")
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip('. ')
        raise ValueError(f'torch cannot export {type(module.network).__name__} {what}{hint}: {reason}.') from error
    return _clean(exported.model_proto, axes, opset)


def _optimize(graph: ir.Model) -> None:
    """Fold constants and drop what is there twice or without use, then onnxscript's own rules.

    The rules alone give the same graph, but spend five times as long on what the cheap passes remove.
    """
    largest, result = 2**22, 2**20  # elements of what is folded; a table of attention biases is below

    def moves(node: ir.Node) -> bool | None:
        """Whether it gives a constant that nothing else takes another form, which makes no file larger."""
        source = node.inputs[0] if node.op_type in ('Flatten', 'Reshape', 'Squeeze', 'Transpose', 'Unsqueeze') else None
        return True if source is not None and len(source.uses()) == 1 else None  # None: the limits decide

    optimizer.inline(graph)
    limits: dict[str, Any] = {'input_size_limit': largest, 'output_size_limit': result}
    optimizer.fold_constants(graph, onnx_shape_inference=False, should_fold=moves, **limits)
    optimizer.remove_unused_nodes(graph)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph)
    common.DeduplicateInitializersPass()(graph)
    common.CommonSubexpressionEliminationPass()(graph)
    optimizer.remove_unused_nodes(graph)
    optimizer.optimize(graph, **limits)


def _clean(proto: onnx.ModelProto, axes: dict[int, str], opset: int) -> onnx.ModelProto:
    """Name the axes, drop the exporter's notes (stack traces with local paths among them), refuse what is not plain."""
    graph = proto.graph
    names = {graph.input[0].type.tensor_type.shape.dim[axis].dim_param: name for axis, name in axes.items()}
    if names:
        symbol = re.compile('|'.join(rf'\b{re.escape(old)}\b' for old in names))
        for value in (*graph.input, *graph.output):
            for dim in value.type.tensor_type.shape.dim:
                if dim.HasField('dim_param'):
                    dim.dim_param = symbol.sub(lambda match: names[match.group()], dim.dim_param)
    for part in (proto, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ''
        del part.metadata_props[:]
    for node in graph.node:  # TensorRT before 10.9 takes ScatterND without the attribute alone, whatever it says
        kept = [entry for entry in node.attribute if (entry.name, entry.s) != ('reduction', b'none')]
        if len(kept) < len(node.attribute):
            del node.attribute[:]
            node.attribute.extend(kept)
    del graph.value_info[:]
    used = {node.domain for node in graph.node}
    kinds = {node.op_type for node in graph.node}
    nested = any(a.type in (a.GRAPH, a.GRAPHS) for node in graph.node for a in node.attribute)
    odd = sorted(filter(FORBIDDEN.fullmatch, kinds)) + sorted(used - {''})
    odd += [tensor.name for tensor in graph.initializer if tensor.data_type in COMPLEX]
    if odd or nested or proto.functions:
        raise ValueError(f'The graph must consist of plain ONNX operators, but it holds {odd or "nested graphs"}.')
    version = next(entry.version for entry in proto.opset_import if entry.domain == '')
    if version != opset:
        raise ValueError(f'The graph must have opset {opset}, but torch wrote {version}: give opset={version}.')
    lacking = _without_kernel(kinds, opset)
    if lacking:
        raise ValueError(
            f'opset must be one that ONNX Runtime has kernels for, but got {opset}, where it has none for '
            f'{", ".join(lacking)}: give opset={OPSETS[0]}.'
        )
    del proto.opset_import[:]
    proto.opset_import.append(onnx.helper.make_opsetid('', opset))
    proto.producer_name, proto.producer_version = 'backbones', _versions()['backbones_version']
    return proto


def _without_kernel(kinds: set[str], opset: int) -> list[str]:
    """Operators that ONNX Runtime cannot run as they are in this opset."""
    runtime = runtimes()['onnxruntime-cpu']
    since = {kind: onnx.defs.get_schema(kind, opset).since_version for kind in kinds}
    rows = {kind: runtime.table.row(kind, runtime.version, version) for kind, version in since.items()}
    return sorted(kind for kind, row in rows.items() if row is None or row.verdict == 'refused')


def _inputs(
    module: Exportable, shape: tuple[int, ...], axes: dict[int, str], given: Sequence[tuple[int, int]] | None
) -> list[torch.Tensor]:
    """Random pictures, as far as these are free, of other batches than the traced one, and of other sizes and its own.

    The size that the file is meant for is not always that of the trace.
    """
    generator = torch.Generator().manual_seed(0)
    batch, *inner, height, width = shape
    batches = [b for b in (1, 3, 2) if b != batch][:2] if axes else [batch]
    if len(axes) < 2:
        given = [(height, width)]
    elif given is None:
        given = [*sizes.other_sizes(module, (1, *inner), height, width), (height, width)]
    count = max(len(batches), len(given))
    shapes = [(batches[i % len(batches)], *inner, *given[i % len(given)]) for i in range(count)]
    pictures = [torch.randn(shape, generator=generator) for shape in shapes]
    if 'dets' in module.names:
        pictures = [_with_boxes(module, picture) for picture in pictures]
    return [(picture - module.shift) / module.factor for picture in pictures] if module.normalize else pictures


@torch.no_grad()
def _with_boxes(module: Exportable, picture: torch.Tensor) -> torch.Tensor:
    """The picture with as much contrast as it takes until the detector finds something in it."""
    for contrast in (1, 2, 4, 8, 16):
        if (module.network(picture * contrast)['labels'] >= 0).any():
            return picture * contrast
    return picture


def _compare(
    proto: onnx.ModelProto, part: Path, module: Exportable, inputs: list[torch.Tensor], tolerance: float
) -> list[Check]:
    """Compare; the model without the outputs that are there for that alone becomes the file `part`."""
    checks: list[Check] = []
    extra = tuple(name for name in module.extra if name not in module.spikes)
    cuts = None
    if module.kind == 'detector':
        cuts = Thresholds(module.network.score_threshold, module.network.iou_threshold)
    if (
        module.forced and inputs
    ):  # with the file's spikes and proposals: the model's could be others, and all behind them
        checks += verify(
            proto.SerializeToString(),
            module.reference,
            (*module.names, *extra),
            inputs,
            tolerance,
            cuts,
            module.spikes,
            module.reference_with,
        )
    elif extra and inputs:  # the head's own maps too, which are compared whether or not there are boxes
        checks += verify(proto.SerializeToString(), module.reference, extra, inputs, tolerance)
    del proto.graph.output[len(module.names) :]
    onnx.checker.check_model(proto)
    onnx.save(proto, part)
    if inputs:
        if module.kind == 'segmentor' and module.network.threshold is not None:
            cuts = Thresholds(module.network.threshold, 1.0)
        limit = float('inf') if module.forced else tolerance  # that it runs, where it follows its own spikes
        found = verify(part, module.reference, module.names, inputs, limit, cuts)
        checks += [] if module.forced else found
    return checks
