"""A segmentor of OpenMMLab as one plain function: picture in, logits or classes of its pixels out.

Built from the parts of a trained mmseg model (Semantic FPN, UPerNet and their like) by their attributes; nothing of
OpenMMLab is imported. The head's own `forward` runs, on a copy in which what cannot be exported for any size is
replaced by equals of ours, and its logits are resized to the picture as the head's own `predict` does.

Shapes: B batch, C classes (one channel where the head has one for two classes), H W picture.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from ..layers.adaptive_pool import adaptive_pool

__all__ = ['Segmentor', 'is_segmentor']


def is_segmentor(model: nn.Module) -> bool:
    """Whether the model has a decoding head on its maps, as mmseg's encoder-decoders do."""
    return isinstance(getattr(model, 'decode_head', None), nn.Module) and hasattr(model, 'backbone')


class Segmentor(nn.Module):
    """Logits or classes of the pixels of a batch of normalised pictures.

    Args:
        model: Segmentor with `backbone`, `neck` and a `decode_head` that ends in `conv_seg`.
        argmax: Give classes in place of logits.

    Attributes:
        names: Outputs that count: `logits`, or `mask`.

    Shape:
        (B, 3, H, W) -> logits (B, C, H, W), and with `argmax` mask (B, H, W) of class numbers, int64. A head of one
        channel has class 1 where the sigmoid of its logit is above its threshold.

    Raises:
        ValueError: A head of another kind, or a model that is tested window by window.
    """

    names: tuple[str, ...]

    def __init__(self, model: Any, argmax: bool = False) -> None:
        super().__init__()
        _check(model)
        self.backbone = model.backbone
        self.neck = getattr(model, 'neck', None) or nn.Identity()
        self.head: Any = copy.deepcopy(model.decode_head)
        self.align_corners = bool(self.head.align_corners)
        _replace(self.head)
        self.names = ('mask',) if argmax else ('logits',)
        self.threshold = float(self.head.threshold) if self.head.out_channels == 1 else None
        self.eval()

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.logits(image)
        mask = {'mask': self.decide(logits)} if 'mask' in self.names else {}
        return {**mask, 'logits': logits}

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, C, H, W) at the size of the picture."""
        maps = self.neck(self.backbone(image))
        with _AlignedResizes():
            logits = self.head(maps)
        if not isinstance(logits, torch.Tensor):
            raise ValueError(
                f'{type(self.head).__name__} must give one map of logits, but gives {type(logits).__name__}'
            )
        return F.interpolate(logits, size=image.shape[2:], mode='bilinear', align_corners=self.align_corners)

    def decide(self, logits: torch.Tensor) -> torch.Tensor:
        """Classes (B, H, W) from logits (B, C, H, W)."""
        if self.threshold is None:
            return logits.argmax(1)
        return (logits.squeeze(1).sigmoid() > self.threshold).long()


class Enlarge(nn.Module):
    """Resize by a whole factor, whatever the sides are: mmseg's own asks for them as numbers.

    Shape:
        (B, C, H, W) -> (B, C, factor * H, factor * W)
    """

    def __init__(self, factor: int, mode: str, align_corners: bool | None) -> None:
        super().__init__()
        self.factor, self.mode, self.align_corners = factor, mode, align_corners

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = [side * self.factor for side in x.shape[2:]]
        return F.interpolate(x, size=size, mode=self.mode, align_corners=self.align_corners)


class CellMeans(nn.Module):
    """Adaptive average pooling that can be exported for any size.

    Shape:
        (B, C, H, W) -> (B, C, side, side)
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = adaptive_pool(x.permute(0, 2, 3, 1), self.side)  # B side*side C
        return means.transpose(1, 2).unflatten(2, (self.side, self.side))


class _Aligned:
    """Stands for `align_corners=True` in a copied head: mmseg's `resize` asks a true value for sides as numbers."""

    def __bool__(self) -> bool:
        return False


_ALIGNED = _Aligned()


class _AlignedResizes(TorchFunctionMode):
    """Within it, `F.interpolate` knows what `_ALIGNED` stands for."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = {key: True if value is _ALIGNED else value for key, value in (kwargs or {}).items()}
        return func(*(True if value is _ALIGNED else value for value in args), **kwargs)


def _replace(head: nn.Module) -> None:
    """Put equals that can be exported for any size in the place of a head's resizes and poolings."""
    for module in head.modules():
        for name, child in module._modules.items():
            module._modules[name] = None if child is None else _equal(child)
    for module in head.modules():
        if getattr(module, 'align_corners', None) is True and not isinstance(module, Enlarge):
            module.align_corners = _ALIGNED  # type: ignore[assignment]


def _equal(child: Any) -> nn.Module:
    if isinstance(child, nn.AdaptiveAvgPool2d):
        sides = child.output_size if isinstance(child.output_size, tuple) else (child.output_size,) * 2
        side = sides[0]  # a single cell is a plain mean
        return CellMeans(side) if side is not None and side > 1 and side == sides[1] else child
    factor = getattr(child, 'scale_factor', None)
    if type(child).__name__ == 'Upsample' and not child.size and isinstance(factor, int | float) and factor % 1 == 0:
        return Enlarge(int(factor), child.mode, child.align_corners)
    return child


def _check(model: Any) -> None:
    """Refuse a model that predicts in another way than `Segmentor` does."""
    head, config = model.decode_head, getattr(model, 'test_cfg', None) or {}
    name = type(head).__name__
    facts = {
        'a single decode_head': not isinstance(head, nn.ModuleList),
        'a conv_seg that gives its logits': isinstance(getattr(head, 'conv_seg', None), nn.Conv2d),
        'align_corners and out_channels': hasattr(head, 'align_corners') and hasattr(head, 'out_channels'),
        'a threshold in (0, 1) for its one channel': getattr(head, 'out_channels', None) != 1
        or 0 < (getattr(head, 'threshold', None) or 0) < 1,
    }
    missing = [what for what, holds in facts.items() if not holds]
    if missing:
        raise ValueError(
            f'A segmentor that is exported whole must have a head as Semantic FPN and UPerNet have, but {name} lacks '
            f'{"; ".join(missing)}: export its backbone as a feature pyramid instead.'
        )
    if config.get('mode', 'whole') != 'whole':
        raise ValueError(
            'A segmentor that is exported must be tested on whole pictures, but its test_cfg.mode is '
            f"'{config['mode']}': set test_cfg.mode='whole', and cut pictures into windows outside of the file."
        )
