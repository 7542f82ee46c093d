"""`StagedBackbone`: timm's whole contract, once, for every family of this project.

A family builds its parts and declares them; what timm and the frameworks on top of it ask of a model is here:

- `stem`: image to the first map; an `nn.Sequential` where a level is tapped inside it.
- `stages`: modules that each take and give one map. Staged families use `Stage`; isotropic ones list their blocks.
  Where later stages join what earlier ones leave, a tuple passes between them: the map, then the rest.
- `norm`: what follows the last stage. `head`: classifier, made by `make_head`.
- `feature_info`: one entry per level, the taps of the stem first, then the stages.

Between stages a map may be (B, C, H, W), (B, H, W, C) or tokens (B, N, C): `layout` says which. A network with T time
steps folds them into the batch, T major, and declares `num_steps`. Whatever leaves the model is NCHW and averaged over
time. A network without positions has the layout (B, C): its features leave as (B, C, 1, 1), and it has no levels.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from timm.layers import SelectAdaptivePool2d, get_device_dtype
from timm.models import checkpoint, checkpoint_seq
from timm.models._features import FeatureGetterNet, feature_take_indices
from timm.models._input import update_model_input_size
from torch import nn
from torch.nn import functional as F

from .layers.free import free_transpose
from .layers.parts import by_images
from .layers.spiking import check_steps, mean_steps

__all__ = ['MIN_SIZE', 'FeatureGetterNet', 'Layout', 'Stage', 'StagedBackbone', 'pair']

PART = 2**19  # elements of a map for each thread that a stage takes at a time in evaluation: so much stays in the cache
MIN_SIZE = 32  # pixels: the least side that every backbone takes

Layout = Literal['NCHW', 'NHWC', 'NLC']
POOLS = ('', 'avg', 'max', 'avgmax', 'catavgmax', 'fast', 'fastavg', 'fastmax', 'fastavgmax', 'fastcatavgmax')


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) in pixels of a side or a pair.

    Raises:
        ValueError: The size is no pair of at least `MIN_SIZE`.
    """
    height, width = (size, size) if isinstance(size, int) else tuple(size) if len(size) == 2 else (0, 0)
    if min(height, width) < MIN_SIZE:
        raise ValueError(
            f'An image size must be one side or (height, width) of at least {MIN_SIZE} pixels, but got {size}.'
        )
    return height, width


class Stage(nn.Module):
    """Downsampling, then blocks at one resolution.

    Args:
        downsample: What changes resolution and width; identity where the stem did it.
        blocks: Modules that keep the shape.
    """

    def __init__(self, downsample: nn.Module, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Any) -> Any:
        return self.finish(self.downsample(x))

    def finish(self, x: Any, recompute: bool = False) -> Any:
        """The blocks on what `downsample` gave, a map or a tuple that starts with it."""
        x, rest = (x[0], x[1:]) if isinstance(x, tuple) else (x, ())
        x = checkpoint_seq(self.blocks, x) if recompute and len(self.blocks) else self.blocks(x)
        return (x, *rest) if rest else x


class StagedBackbone(nn.Module):
    """Base of every backbone; see the module's text for what a family declares.

    Args:
        num_classes: Outputs of the classifier; 0 leaves it out.
        in_chans: Channels of the image.
        global_pool: Pooling before the classifier in timm's words; '' leaves it out and needs `num_classes=0`.
        drop_rate: Rate of dropout before the classifier.
        img_size: Side or (height, width) in pixels that tables of fixed extent are made for.
        layout: Order of the axes of the maps between stages.
        num_steps: T; maps between stages are (T * B, ...).
        clips: Whether an input is a clip (B, T, C, H, W) with a picture for each time step, in place of an image.
        stem_taps: Indices into `stem`; the maps behind them are feature levels before the stages.
        early_taps: Indices of stages whose feature level is the map between `downsample` and the blocks.
        any_size: Whether images of any size are taken; else those of `img_size` alone.

    Raises:
        ValueError: A channel count, class count, rate, pooling or size that cannot be.
    """

    stem: Any
    stages: Any
    norm: nn.Module
    head: nn.Module
    head_neuron: nn.Module
    head_norm = False  # whether `forward_head` starts from the map in front of the final norm and applies it itself
    feature_norm = False  # whether a pyramid's last level is the map behind the final norm, as in published detectors
    published = ''  # name under which a file holds the weights whose accuracy is published, where it has averages too
    head_steps = False  # whether `forward_head` has neurons, so that the model gives it the map of every time step
    pretrained_cfg: dict[str, Any]

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        img_size: int | Sequence[int] = 224,
        layout: Layout | Literal['NC'] = 'NCHW',
        num_steps: int = 1,
        clips: bool = False,
        stem_taps: Sequence[int] = (),
        early_taps: Sequence[int] = (),
        any_size: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(in_chans, int) or in_chans < 1:
            raise ValueError(f'in_chans must be a whole number of at least 1, but got {in_chans!r}.')
        if not 0 <= drop_rate < 1:
            raise ValueError(f'drop_rate must lie in [0, 1), but got {drop_rate}.')
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.img_size = pair(img_size)
        self.layout = layout
        self._num_steps, self.clips = check_steps(num_steps), clips
        self.stem_taps, self.early_taps = tuple(stem_taps), tuple(early_taps)
        self.any_size = any_size
        self.grad_checkpointing = False
        self.pruned: tuple[str, ...] = ()  # prefixes of weights that pruning took away
        self.norm = nn.Identity()
        self.num_features = self.head_hidden_size = 0
        self.feature_info: list[dict[str, Any]] = []
        self._pool_name = global_pool

    def _finish(self, num_features: int | None = None, device=None, dtype=None) -> None:
        """Last step of a family's `__init__`: the head on the declared features, then the published initialisation.

        Args:
            num_features: Channels behind the final norm, if not those of the last level.
            device: Where the head is made.
            dtype: Type of the head.
        """
        assert len(self.feature_info) == len(self.stem_taps) + len(self.stages)
        self.num_features = num_features or self.feature_info[-1]['num_chs']
        self.reset_classifier(self.num_classes, self._pool_name, device=device, dtype=dtype)
        if not all(p.is_meta for p in self.parameters()):  # where no numbers are, drawing them takes long all the same
            for name, module in self.named_modules():
                self._init_weights(module, name)

    def make_head(self, in_features: int, num_classes: int, device=None, dtype=None) -> nn.Module:
        """Classifier on pooled features; a family with another one than a linear map overrides this."""
        return nn.Linear(in_features, num_classes, device=device, dtype=dtype)

    def _init_weights(self, module: nn.Module, name: str) -> None:
        """The published initialisation of one module; PyTorch's own by default."""

    # ---- forward -----------------------------------------------------------------------------------------------

    def _check_input(self, x: torch.Tensor) -> None:
        if torch.compiler.is_exporting():  # a graph for any size must not branch on it
            return
        wanted = (self.num_steps, self.in_chans) if self.clips else (self.in_chans,)
        if x.ndim != len(wanted) + 3 or tuple(x.shape[1:-2]) != wanted or min(x.shape[-2:]) < MIN_SIZE:
            kind = 'clips, with a picture for each of its time steps,' if self.clips else 'images'
            raise ValueError(
                f'An input must be a batch of {kind} (B, {", ".join(map(str, wanted))}, H, W) with H and W of at least '
                f'{MIN_SIZE} pixels, but got shape {tuple(x.shape)}. in_chans={self.in_chans} was given when the model '
                f'was made{f", and num_steps={self.num_steps}: set num_steps to change it" if self.clips else ""}.'
            )
        height, width = self.img_size
        if not self.any_size and tuple(x.shape[-2:]) != (height, width):
            raise ValueError(
                f'{type(self).__name__} takes images of {height} x {width} pixels alone, the size its first layer is '
                f'made for, but got {x.shape[-2]} x {x.shape[-1]}: resize the images to it, or call '
                f'set_input_size(({x.shape[-2]}, {x.shape[-1]})) once, which resamples that layer.'
            )

    def input_shape(self, batch: int = 1, sides: Sequence[int] | None = None) -> tuple[int, ...]:
        """Shape of an input: (B, C, H, W), or (B, T, C, H, W) of clips.

        Args:
            batch: B.
            sides: (height, width) in pixels; those of `img_size` if None.
        """
        steps = (self.num_steps,) if self.clips else ()
        return (batch, *steps, self.in_chans, *(sides or self.img_size))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """What the stem sees at each time step, the step major: (B, C, H, W) or (B, T, C, H, W) -> (T * B, C, H, W).

        An image is shown T times. A family whose stem starts with what is the same at every step may leave the
        repetition to it.
        """
        if self.clips:
            batch, steps, *shape = x.shape
            return free_transpose(x, (1, batch, steps, math.prod(shape)), (steps * batch, *shape))
        return x.repeat(self.num_steps, 1, 1, 1) if self.num_steps > 1 else x

    def _levels(self, x: torch.Tensor, last: int, keep: set[int]) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
        """Run up to level `last`: the map behind it as the network has it, and the levels of `keep` likewise."""
        self._check_input(x)
        images = x.shape[0]
        x = self.encode(x)
        kept: dict[int, torch.Tensor] = {}
        if self.stem_taps:
            for index, module in enumerate(self.stem):
                x = self._in_parts(module, module, x, images)
                level = self.stem_taps.index(index) if index in self.stem_taps else -1
                if level in keep:
                    kept[level] = x
                if level == last:
                    return _map(x), kept
        else:
            x = self._in_parts(self.stem, self.stem, x, images)
        taps = len(self.stem_taps)
        for index, stage in enumerate(self.stages):
            if taps + index > last:
                break
            early = index in self.early_taps
            x = self._in_parts(stage, stage.downsample, x, images) if early else self._run(stage, x, images)
            if taps + index in keep:
                kept[taps + index] = _map(x)
            if early:
                finish = partial(stage.finish, recompute=self.grad_checkpointing)
                x = self._in_parts(stage, finish, x, images)
        return _map(x), kept

    def _run(self, stage: nn.Module, x: Any, images: Any) -> Any:
        if not self.grad_checkpointing:
            return self._in_parts(stage, stage, x, images)
        if isinstance(stage, Stage):
            return stage.finish(stage.downsample(x), recompute=True)
        return checkpoint(stage, x)

    @staticmethod
    def _in_parts(module: nn.Module, run: Callable[[Any], Any], x: Any, images: Any) -> Any:
        return by_images(module, run, x, PART, images) if isinstance(x, torch.Tensor) else run(x)

    def _out(self, x: torch.Tensor, level: int, image: torch.Tensor, fmt: Layout = 'NCHW') -> torch.Tensor:
        """A map of the network at `level` as (B, C, H, W), or in `fmt`, averaged over time."""
        x = mean_steps(x, self.num_steps)
        if self.layout == 'NC':
            x = x[:, :, None, None]
        elif self.layout == 'NLC':
            reduction = self.feature_info[level]['reduction']
            height = -(-image.shape[-2] // reduction)
            x = x.transpose(1, 2).unflatten(2, (height, -1))  # B N C -> B C H W
        elif self.layout == 'NHWC':
            x = x.permute(0, 3, 1, 2)
        if fmt == 'NCHW':
            return x
        x = x.permute(0, 2, 3, 1)
        return x if fmt == 'NHWC' else x.flatten(1, 2)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) behind the last stage and the final norm (the last stage alone with `head_norm`)."""
        last = len(self.feature_info) - 1
        y, _ = self._levels(x, last, set())
        return self._out(self._for_head(y), last, x)

    def _for_head(self, y: torch.Tensor) -> torch.Tensor:
        return y if self.head_norm else self.norm(y)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Pool, drop and classify the map of `forward_features`; with `pre_logits` stop before the classifier.

        With `head_steps` the map is taken for that of every step.
        """
        if self.head_steps and self._pool_name:
            return self.head_of_steps(x.repeat(self.num_steps, 1, 1, 1), pre_logits)
        x = self.global_pool(x)
        x = F.dropout(x, self.drop_rate, self.training)
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.head_steps:
            return self.forward_head(self.forward_features(x))
        y, _ = self._levels(x, len(self.feature_info) - 1, set())
        return self.head_of_steps(self._for_head(y))

    def head_of_steps(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """With `head_steps`: `forward_head` on the map of every step (T * B, C, H, W)."""
        x = mean_steps(self.fire(x) if self._pool_name else x, self.num_steps)
        x = F.dropout(x, self.drop_rate, self.training)
        return x if pre_logits else self.head(x)

    def fire(self, x: torch.Tensor) -> torch.Tensor:
        """With `head_steps`: pooled spikes (T * B, C) of the map of every step, here of a neuron behind the pooling."""
        return self.head_neuron(self.global_pool(x))

    @property
    def num_steps(self) -> int:
        """Time steps T; may be set, as by `set_num_steps`."""
        return self._num_steps

    @num_steps.setter
    def num_steps(self, num_steps: int) -> None:
        self.set_num_steps(num_steps)

    def set_num_steps(self, num_steps: int) -> None:
        """Run that many time steps from now on, in every module that has steps.

        Raises:
            ValueError: The number is not a whole one of at least 1, or a weight is made for another one; the model is
                then as it was.
        """
        num_steps = check_steps(num_steps)
        parts: list[Any] = [m for m in self.modules() if m is not self and hasattr(m, 'set_num_steps')]
        try:
            for part in parts:
                part.set_num_steps(num_steps)
        except ValueError:
            for part in parts:
                part.set_num_steps(self.num_steps)
            raise
        self._num_steps = num_steps

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: Layout = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """Feature maps of several levels, in the order of their depth.

        Args:
            x: Images (B, in_chans, H, W).
            indices: Levels to return: the last n for a number n, all for None; negative ones count from the end.
            norm: Apply the final norm to the last level.
            stop_early: Do not run past the last level that is returned.
            output_fmt: Order of the axes: 'NCHW', 'NHWC' or 'NLC'.
            intermediates_only: Return the maps without the final features.

        Returns:
            The maps, or the final features (B, C, H, W) and the maps. With `stop_early` the final features are the
            deepest map that was computed.

        Raises:
            ValueError: An index or a format that does not exist.
        """
        if output_fmt not in ('NCHW', 'NHWC', 'NLC'):
            raise ValueError(f"output_fmt must be 'NCHW', 'NHWC' or 'NLC', but got {output_fmt!r}.")
        taken, deepest = self._take(indices)
        end = len(self.feature_info) - 1
        last = deepest if stop_early or intermediates_only else end
        y, kept = self._levels(x, last, set(taken))
        if norm and end in kept:
            kept[end] = self.norm(kept[end])
        maps = [self._out(kept[level], level, x, output_fmt) for level in sorted(kept)]
        if intermediates_only:
            return maps
        return self._out(self._for_head(y) if last == end else y, last, x), maps

    def _take(self, indices: int | Sequence[int] | None) -> tuple[list[int], int]:
        if self.layout == 'NC':
            raise ValueError(
                f'{type(self).__name__} has no feature maps, since its first layer mixes all pixels into one vector: '
                'use it for classification, without features_only and forward_intermediates, or take another family.'
            )
        try:
            return feature_take_indices(len(self.feature_info), indices if indices is None else _as_indices(indices))
        except AssertionError as error:
            count = len(self.feature_info)
            raise ValueError(
                f'Feature indices must lie in [{-count}, {count - 1}], or be a number of levels from 1 to {count}, '
                f'as {type(self).__name__} has {count} levels, but got {indices}.'
            ) from error

    # ---- timm's contract ---------------------------------------------------------------------------------------

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop what the given levels do not need, as timm's feature extractor does; returns the levels' indices."""
        taken, deepest = self._take(indices)
        before = self.state_dict().keys()
        cut = deepest < len(self.feature_info) - 1
        if cut:
            self.stages = self.stages[: max(0, deepest + 1 - len(self.stem_taps))]
            if deepest < len(self.stem_taps):
                self.stem = self.stem[: self.stem_taps[deepest] + 1]
                self.stem_taps = self.stem_taps[: deepest + 1]
            self.feature_info = self.feature_info[: deepest + 1]
            if deepest - len(self.stem_taps) in self.early_taps:
                self.stages[-1].blocks = nn.Sequential()
        if cut or prune_norm:
            self.norm = nn.Identity()
            self.num_features = self.feature_info[-1]['num_chs']
        if cut or prune_head:
            self.reset_classifier(0, '')
        self.pruned += tuple(before - self.state_dict().keys())
        return taken

    def get_classifier(self) -> nn.Module:
        """The head that follows pooling."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None, device=None, dtype=None) -> None:
        """Replace the classifier by a new one.

        Args:
            num_classes: Outputs of the new classifier; 0 for none.
            global_pool: New pooling; None keeps the one there is.
            device: Where the new head is made; the model's device if None.
            dtype: Type of the new head; the model's if None.

        Raises:
            ValueError: The class count is negative, the pooling is unknown, or a classifier has no pooling before it.
        """
        pool = self._pool_name if global_pool is None else global_pool
        if pool not in POOLS:
            raise ValueError(f'global_pool must be one of {", ".join(map(repr, POOLS))}, but got {pool!r}.')
        if not isinstance(num_classes, int) or num_classes < 0:
            raise ValueError(f'num_classes must be a whole number of at least 0, but got {num_classes!r}.')
        if num_classes and not pool:
            raise ValueError(
                f"A classifier of {num_classes} classes must have pooled features, but global_pool='' was given: "
                'name a pooling, or give num_classes=0.'
            )
        dd = get_device_dtype(self, device, dtype)
        self._pool_name, self.num_classes = pool, num_classes
        self.global_pool = SelectAdaptivePool2d(pool_type=pool, flatten=bool(pool)).train(self.training)
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()
        head = self.make_head(self.head_hidden_size, num_classes, **dd) if num_classes else nn.Identity()
        self.head = head.train(self.training)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute blocks in the backward pass, which saves memory and costs time."""
        self.grad_checkpointing = enable

    def set_distilled_training(self, enable: bool = True) -> None:
        """While training give the outputs of both heads, as timm's distillation expects.

        Raises:
            ValueError: The model has no second head.
        """
        if not hasattr(self.head, 'distilled_training'):
            raise ValueError(f'{type(self).__name__} has no distillation head: use a variant that ends in _distill.')
        head: Any = self.head
        head.distilled_training = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns that put each parameter into one group by depth; stages when `coarse`, blocks otherwise."""
        depth = [(r'^norm\.', (99999,))]
        if coarse or not any(isinstance(stage, Stage) for stage in self.stages):
            return {'stem': r'^stem\.', 'blocks': [(r'^stages\.(\d+)', None), *depth]}
        closing = (r'^stages\.(\d+)\.(?!downsample\.|blocks\.)', (99999,))  # what a stage has behind its blocks
        blocks = [(r'^stages\.(\d+)\.downsample', (0,)), (r'^stages\.(\d+)\.blocks\.(\d+)', None), closing, *depth]
        return {'stem': r'^stem\.', 'blocks': blocks}

    def no_weight_decay(self) -> set[str]:
        """Names of parameters beyond norms and biases that weight decay should leave alone."""
        return set()

    def set_input_size(self, img_size: int | Sequence[int]) -> None:
        """Make tables of fixed extent anew for another image size, resampled once; other sizes still work.

        Every module of a stage that has a method `set_grid` is given the (height, width) of its map.

        Args:
            img_size: Side or (height, width) in pixels.
        """
        self.img_size = pair(img_size)
        for stage, info in zip(self.stages, self.feature_info[len(self.stem_taps) :], strict=True):
            grid = tuple(-(-side // info['reduction']) for side in self.img_size)
            for module in stage.modules():
                set_grid: Any = getattr(module, 'set_grid', None)
                if set_grid is not None:
                    set_grid(grid)
        update_model_input_size(self, self.img_size)


def _map(x: Any) -> torch.Tensor:
    """The map in what passes between stages."""
    return x[0] if isinstance(x, tuple) else x


def _as_indices(indices: int | Sequence[int]) -> int | list[int]:
    return indices if isinstance(indices, int) else list(indices)
