"""`--backbone NAME`: another backbone in a config, with all that follows from it."""

import copy
import sys
from typing import Any

try:
    from tools import fit, models
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import fit  # type: ignore[no-redef]
    import models  # type: ignore[no-redef]

# What a config says of its backbone that holds for any other; the rest is of that one alone, or of its family.
_KEPT = (
    *('type', 'img_size', 'in_chans', 'drop_path_rate', 'output_stride'),
    *('frozen_stages', 'norm_eval', 'with_cp', 'clips'),
)
_KEPT_OF_CLASSIFIERS = (
    'type',
    'img_size',
    'in_chans',
    'drop_path_rate',
    'num_classes',
    'loss',
    'train_cfg',
    'with_cal_acc',
    'with_cp',
    'data_preprocessor',
    'teacher',
    'distill_weight',
)
# Arguments that not every network of timm has.
_OPTIONAL = ('img_size', 'drop_path_rate', 'output_stride', 'mixed_batch')
_WEIGHTS = ('init_cfg', 'pretrained', 'checkpoint_path', 'pretrained_cfg', 'pretrained_cfg_overlay')
_REPLACED = ('model_name', 'out_indices', 'img_size', 'mixed_batch', *_WEIGHTS)  # by what the new backbone needs


def swap_backbone(config: Any, name: str, weights: str | None = None) -> None:
    """Put another backbone into a config of a classifier, detector or segmentor, in place.

    Its maps take the place of maps of the same strides, so that heads, anchors and losses stay what they are; where the
    backbone ends before the pyramid does, the pyramid makes the coarser maps itself.

    Args:
        config: Config whose `model` is a `TimmClassifier`, or has a `TimmFeatures` as its `backbone`.
        name: A name of ours or of timm's own.
        weights: File that the backbone starts from, in any layout that it can be loaded from.

    Raises:
        ValueError: There is no such name, the config has no backbone of timm, or the backbone lacks maps of a stride.
    """
    models.check_name(name, '--backbone')
    model = config.model
    if str(model.type).endswith('TimmClassifier'):
        if model.model_name == name and not weights:
            return
        _swap_classifier(config, name, weights)
        return
    backbone = model.get('backbone')
    if not backbone or not str(backbone.get('type')).endswith('TimmFeatures'):
        raise ValueError(
            '--backbone takes a config of a TimmClassifier, or one with a backbone of the type TimmFeatures.'
        )
    if backbone.get('model_name') != name:
        if not weights:
            _warn(name, backbone)
        _swap_maps(config, backbone, name)
    if weights:
        for key in _WEIGHTS:
            backbone.pop(key, None)
        backbone['init_cfg'] = {'type': 'Pretrained', 'checkpoint': weights}
        _normalise_as(config, name, weights)


def _swap_classifier(config: Any, name: str, weights: str | None) -> None:
    model = config.model
    kept = {**_kept(model, name, _KEPT_OF_CLASSIFIERS), 'model_name': name}
    kept = kept if model.model_name == name else _accepted(name, kept)
    if 'teacher' in kept:
        _check_second_head(name)
    if not models.takes_any_size(name):
        kept = fit.to_pictures(config, kept)
    if weights:
        kept.update(pretrained=True, pretrained_cfg_overlay=fit.classifier_file(name, weights, kept))
        _normalise_as(config, name, weights)
    else:
        _warn(name, model)
    _say(model, kept)
    _replace(model, kept)


def _check_second_head(name: str) -> None:
    import timm

    try:
        fit.light(timm.create_model, name).set_distilled_training(True)
    except (AttributeError, ValueError) as error:
        raise ValueError(
            f'--backbone {name} must have a second head for the teacher of this config, but has none: give a name that '
            'ends in _distill or _distilled, or a config without a teacher.'
        ) from error


def _kept(before: Any, name: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """What stays of the settings of a backbone; within a family also its switches, which are the recipe's.

    Numbers and lists are those of a size; the same network keeps all but its weights.
    """
    if name == before.model_name:
        return {key: value for key, value in before.items() if key not in _WEIGHTS}
    if models.family(name) == models.family(before.model_name):
        switches = [key for key, value in before.items() if isinstance(value, (bool, str))]
        keys = (*keys, *(key for key in switches if key not in _REPLACED))
    return {key: before[key] for key in keys if key in before}


def _say(before: Any, after: dict[str, Any]) -> None:
    """In one line, what holds of the config and what does not."""
    name = after['model_name']
    if before.model_name == name:
        return
    rate = after.get('drop_path_rate')
    rates = 'no drop path' if 'drop_path_rate' in before else 'its own drop path'
    words = [rates if rate is None else f'drop path {rate}, as the config has it']
    gone = [key for key in before if key not in after and key not in (*_REPLACED, 'drop_path_rate')]
    if gone:
        words.append('without ' + ', '.join(f'{key}={before[key]!r}' for key in gone))
    print(f'{name} in the place of {before.model_name}: {"; ".join(words)}', file=sys.stderr)


def _warn(name: str, before: Any) -> None:
    """Of a start from weights that is lost."""
    if any(before.get(key) for key in _WEIGHTS[:3]):
        print(
            f'{name} starts from random weights, since those that the config names are of {before.model_name} '
            '(train.py --init FILE gives it its own)',
            file=sys.stderr,
        )


def _normalise_as(config: Any, name: str, weights: str) -> None:
    """Pictures reach published weights of a network as they did when these were trained.

    What a training of mmengine's wrote had a config of its own, which is not known here: then this config's stays.
    """
    import timm

    from backbones.mm import read_checkpoint

    cfg, file = timm.models.get_pretrained_cfg(name), read_checkpoint(weights)
    if cfg is None or 'meta' in file:
        return
    for settings in (config.get('data_preprocessor'), config.model.get('data_preprocessor')):
        if settings and len(settings.get('mean') or ()) == len(cfg.mean) == 3:
            way = 1 if settings.get('bgr_to_rgb') or settings.get('to_rgb') else -1
            for key, values in (('mean', cfg.mean), ('std', cfg.std)):
                settings[key] = [255 * value for value in values][::way]


def _swap_maps(config: Any, backbone: Any, name: str) -> None:
    """The backbone of a detector or segmentor, and the channels of what follows it."""
    model, kept = config.model, _kept(backbone, name, _KEPT)
    kept = _accepted(name, {**kept, 'model_name': name, 'mixed_batch': False})  # pictures must not change each other
    before, after = _levels(backbone), _levels(kept)
    heads = [head for head in (model.get('decode_head'), model.get('auxiliary_head')) if head]
    neck = model.get('neck')
    wanted = _wanted(before, neck)
    levels = _places(wanted, [stride for stride, _ in after])
    found = [after[i][0] for i in levels]
    # Only a pyramid makes levels that the backbone lacks, and only below maps of a stride each.
    whole = not _is_pyramid(neck) or len(set(wanted)) < len(wanted)
    if not found or found != wanted[: len(found)] or (whole and found != wanted):
        raise ValueError(
            f'--backbone {name} gives maps of the strides {_words(dict(after))}, but the heads of '
            f'this config want {_words(wanted)}: take a config made for such strides, or another backbone.'
        )
    if not models.is_ours(name):
        kept = fit.to_pictures(config, kept)
    channels = [after[i][1] for i in levels]
    _say(backbone, kept)
    _replace(backbone, {**kept, 'out_indices': tuple(levels)})
    if neck is not None:
        neck['in_channels'] = channels
        if not _is_pyramid(neck):
            return
        used = len(before) - neck.get('start_level', 0)
        for key in ('start_level', 'end_level'):
            neck.pop(key, None)
        if len(channels) < min(used, neck['num_outs']) and not neck.get('add_extra_convs'):
            neck['add_extra_convs'] = 'on_output'
        return
    for head in heads:
        index = head.get('in_index', -1)
        head['in_channels'] = channels[index] if isinstance(index, int) else [channels[i] for i in index]


def _accepted(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings without those that the network has no argument for."""
    import timm

    kept = dict(settings)
    own = (*_KEPT, *_KEPT_OF_CLASSIFIERS, 'model_name', 'out_norm')  # of the wrapper
    refusal = (TypeError,) if models.is_ours(name) else (TypeError, ValueError, AssertionError, RuntimeError)
    for key in (*_OPTIONAL, *(key for key in settings if key not in (*own, *_OPTIONAL))):
        if kept.get(key) is None:
            kept.pop(key, None)
            continue
        try:
            fit.light(timm.create_model, name, **{key: kept[key]})
        except refusal:
            del kept[key]
    return kept


def _levels(backbone: Any) -> list[tuple[int, int]]:
    """(stride, channels) of each map that a backbone gives."""
    from mmengine.registry import MODELS

    settings = {key: copy.deepcopy(value) for key, value in backbone.items() if key not in _WEIGHTS}
    built: Any = fit.light(MODELS.build, settings)
    return list(zip(built.strides, built.channels, strict=True))


def _wanted(levels: list[tuple[int, int]], neck: Any) -> list[int]:
    """Strides of the maps that the heads get: those of the pyramid on the backbone, or without one of the backbone."""
    strides = [stride for stride, _ in levels]
    if neck is not None and not (hasattr(neck, 'get') and isinstance(neck.get('in_channels'), (list, tuple))):
        raise ValueError('--backbone takes a config whose neck has a list of `in_channels`, and this one has none.')
    if neck is None or not _is_pyramid(neck):
        return strides
    used = strides[neck.get('start_level', 0) :][: neck['num_outs']]
    while len(used) < neck['num_outs']:
        used.append(2 * used[-1])
    return used


def _is_pyramid(neck: Any) -> bool:
    return neck is not None and str(neck.type).rpartition('.')[2] == 'FPN'


def _places(wanted: list[int], strides: list[int]) -> list[int]:
    """Which maps have the wanted strides: of several of one stride the last ones, as many as are wanted."""
    places = {stride: [i for i, other in enumerate(strides) if other == stride] for stride in wanted}
    return [i for stride, found in places.items() for i in found[-wanted.count(stride) :]]


def _replace(settings: Any, others: dict[str, Any]) -> None:
    settings.clear()
    settings.update(others)


def _words(strides: Any) -> str:
    return ', '.join(map(str, strides))
