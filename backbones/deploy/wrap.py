"""What a model is to an exporter: a module with named outputs, and the facts a user of the file needs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from .detector import is_detector, whole_detector
from .segmentor import Segmentor, is_segmentor
from .spikes import listening, replaced

__all__ = ['Exportable', 'Kind', 'as_text', 'describe', 'pretrained_cfg']

Kind = Literal['classifier', 'pyramid', 'detector', 'segmentor']


class Exportable(nn.Module):
    """A network with a tuple of named outputs.

    - classifier: `output`, whatever single tensor the network gives
    - pyramid: maps (B, C, h, w), `feat_s8`, ... by stride
    - detector: `dets` (B, K, 5) and `labels` (B, K), and `masks` (B, K, h, w) where it has them; then, for comparing,
      the maps of its first head, `score_s8`, `delta_s8`, ..., and the `proposals` of one with two stages
    - segmentor: `logits` (B, C, H, W), or `mask` (B, H, W) and then, for comparing, `logits`

    What the neurons of a spiking network give follows, for comparing too: `spikes_0`, ... in the order of their calls.

    Args:
        network: Model in eval mode.
        example: Normalised picture that is tried once to see what the network gives.
        mean, std: Of each channel; with them `forward` takes pictures that are not normalised yet.
        argmax: Whether a segmentor gives `mask`.
        nms: Whether a detector gives boxes; else the head's maps are its outputs.

    Raises:
        ValueError: The network gives something else.
    """

    kind: Kind
    names: tuple[str, ...]
    network: Any
    factor: torch.Tensor
    shift: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        example: torch.Tensor,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        *,
        argmax: bool = False,
        nms: bool = True,
    ) -> None:
        super().__init__()
        self.extra: tuple[str, ...] = ()  # outputs that are compared and left out of the file
        self.strides: tuple[int, ...] = tuple(_info(network, 'reduction') or ())
        self._last: tuple[bool, ...] = ()  # which maps have their channels last
        detector, segmentor = is_detector(network), is_segmentor(network)
        self.network = whole_detector(network) if detector else Segmentor(network, argmax) if segmentor else network
        with listening(self.network) as spikes:
            given = _try(self.network, example)
        if detector:
            self.kind, self.names, self.strides = 'detector', self.network.names, self.network.strides
            self.extra = tuple(name for name in given if name not in self.names)
            if not nms:
                self.names, self.extra = tuple(name for name in self.extra if name != 'proposals'), ()
        elif segmentor:
            self.kind, self.names = 'segmentor', self.network.names
            self.extra = tuple(name for name in given if name not in self.names)
        else:
            self._look(given, example)
        self.spikes = tuple(f'spikes_{i}' for i in range(len(spikes)))
        # what the model is given from the file, since rounding may decide about it, and all that follows hangs on it
        self.forced = self.spikes + (('proposals',) if 'proposals' in self.extra else ())
        self.extra += self.spikes
        self.normalize = mean is not None
        if mean is not None and std is not None:
            self.register_buffer('factor', 1 / torch.tensor(std)[:, None, None], persistent=False)
            self.register_buffer('shift', -torch.tensor(mean)[:, None, None] * self.factor, persistent=False)
        self.eval()

    def _look(self, given: Any, example: torch.Tensor) -> None:
        """Learn kind and names from what the network gives."""
        if isinstance(given, torch.Tensor):
            self.kind, self.names = 'classifier', ('output',)
            return
        maps = _maps(given)
        if not maps or not all(isinstance(m, torch.Tensor) and m.ndim == 4 for m in maps):
            raise ValueError(
                'A model that is exported must give one tensor, a list of maps (B, C, h, w), or be a detector of '
                f'mmdet, but {type(self.network).__name__} gives {type(given).__name__}: '
                'export its backbone as a feature pyramid instead.'
            )
        channels = _info(self.network, 'channels') or [m.shape[1] for m in maps]
        # shapes alone do not tell where a map has as many rows as channels: timm says what it gives
        said = str(getattr(self.network, 'output_fmt', 'NCHW')).endswith('NHWC')
        self._last = tuple(m.shape[-1] == c and (said or m.shape[1] != c) for m, c in zip(maps, channels, strict=True))
        if len(self.strides) != len(maps):
            heights = [m.shape[1 if last else 2] for m, last in zip(maps, self._last, strict=True)]
            self.strides = tuple(max(1, round(example.shape[-2] / height)) for height in heights)
        repeated = len(set(self.strides)) < len(self.strides)
        self.kind = 'pyramid'
        self.names = tuple(f'feat_s{s}_{i}' if repeated else f'feat_s{s}' for i, s in enumerate(self.strides))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if self.normalize:
            image = image * self.factor + self.shift
        if not self.spikes:
            return self._outputs(image)
        with listening(self.network) as spikes:
            outputs = self._outputs(image)
        return (*outputs, *spikes)

    def _outputs(self, image: torch.Tensor, proposals: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        given = self.network(image) if proposals is None else self.network(image, proposals)
        if self.kind in ('detector', 'segmentor'):
            return tuple(given[name] for name in (*self.names, *self.extra) if name in given)
        if self.kind == 'classifier':
            return (given,)
        return tuple(m.permute(0, 3, 1, 2) if last else m for m, last in zip(_maps(given), self._last, strict=True))

    def reference(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every output by its name."""
        return dict(zip(self.names + self.extra, self(image), strict=True))

    def reference_with(
        self, image: torch.Tensor, given: Mapping[str, torch.Tensor]
    ) -> tuple[dict[str, torch.Tensor], list[int]]:
        """Every output with what is `forced` in place of its own, and how many of its own spikes differ, by layer."""
        if self.normalize:
            image = image * self.factor + self.shift
        spikes = [given[name] for name in self.spikes]
        with replaced(self.network, spikes) as differing:
            outputs = self._outputs(image, given.get('proposals'))
        return dict(zip(self.names + self.extra, (*outputs, *spikes), strict=True)), differing


def _try(network: nn.Module, example: torch.Tensor) -> Any:
    """What the network gives for one picture.

    Raises:
        ValueError: It gives nothing but an error.
    """
    try:
        with torch.no_grad():
            return network(example)
    except Exception as error:  # a foreign forward, which may want more than pictures
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip('.')
        raise ValueError(
            f'A model that is exported must run on a batch of pictures alone, but {type(network).__name__} fails on '
            f'shape {tuple(example.shape)}: {reason}. Give another input_size, or export its backbone as a feature '
            'pyramid instead.'
        ) from error


def _maps(given: Any) -> list[Any]:
    if isinstance(given, Mapping):
        return list(given.values())
    return list(given) if isinstance(given, list | tuple) else []


def _info(model: nn.Module, what: str) -> list[int] | None:
    """A field of timm's feature information of the levels a feature extractor gives."""
    method: Any = getattr(getattr(model, 'feature_info', None), what, None)
    return None if method is None else [int(value) for value in method()]


def pretrained_cfg(model: nn.Module) -> dict[str, Any]:
    """timm's facts about the model or about the backbone inside it."""
    parts = [model]
    for path in ('model', 'backbone', 'backbone.net', 'backbone.model', 'backbone.timm_model', 'net'):
        part: Any = model
        for attribute in path.split('.'):
            part = getattr(part, attribute, None)
        parts.append(part)
    for part in parts:
        cfg = getattr(part, 'pretrained_cfg', None)
        if cfg is not None:
            return dict(cfg) if isinstance(cfg, Mapping) else cfg.to_dict()
    return {}


def describe(
    model: nn.Module, mean: Sequence[float] | None, std: Sequence[float] | None, classes: Sequence[str] | None
) -> dict[str, Any]:
    """Facts for the file's metadata; mean, std and classes as given, or the model's own."""
    cfg = pretrained_cfg(model)
    facts: dict[str, Any] = {'model': cfg.get('architecture') or type(model).__name__, 'tag': cfg.get('tag')}
    if is_detector(model) or is_segmentor(model):
        facts['model'] = f'{type(model).__name__} {facts["model"]}' if cfg else type(model).__name__
    own_mean, own_std, pixels = cfg.get('mean'), cfg.get('std'), {}
    preprocessor: Any = getattr(model, 'data_preprocessor', None)
    if getattr(preprocessor, '_enable_normalize', False) or hasattr(preprocessor, 'mean'):
        values = (preprocessor.mean, preprocessor.std)
        own_mean, own_std = ([round(v, 5) for v in t.flatten().tolist()] for t in values)  # without float32's digits
        swapped = getattr(preprocessor, '_channel_conversion', False) or getattr(preprocessor, 'to_rgb', False)
        pixels = {'pixel_range': [0, 255], 'channel_order': 'rgb' if swapped else 'as loaded'}
    elif cfg:
        pixels = {'pixel_range': [0, 1], 'channel_order': 'rgb'}
    facts['mean'], facts['std'] = mean or own_mean, std or own_std
    facts.update(pixels)
    dataset = getattr(model, 'dataset_meta', None) or {}
    facts['classes'] = classes or dataset.get('classes') or cfg.get('label_names')
    facts['licence'] = cfg.get('license') or 'unknown'
    facts['origin'] = cfg.get('origin_url')
    return facts


def as_text(facts: Mapping[str, Any]) -> dict[str, str]:
    """Metadata of an ONNX file holds text: words as they are, everything else as JSON; what is unknown is left out."""
    return {
        key: value if isinstance(value, str) else json.dumps(list(value) if isinstance(value, tuple) else value)
        for key, value in facts.items()
        if value is not None
    }
