"""What in a picture speaks for a class of a trained classifier (Grad-CAM), for `look.py cam`."""

import argparse
import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from tools import look_maps, plots, predict
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import look_maps  # type: ignore[no-redef]
    import plots  # type: ignore[no-redef]
    import predict  # type: ignore[no-redef]

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


def draw(options: argparse.Namespace) -> str:
    """Draw one map for each class that is asked for, by pytorch-grad-cam.

    Args:
        options: Of `look.py cam`.

    Returns:
        What was written where.
    """
    try:
        from pytorch_grad_cam.utils.image import show_cam_on_image
    except ImportError as error:
        raise ValueError(f'grad-cam is needed, but {error}: install the extra `look` of this package') from error
    predict.find_pictures(Path(options.picture))
    model = predict.Predictor(options.config, options.cfg_options, options.checkpoint, options.device)
    if not hasattr(model.model, 'model') or not getattr(model.model.model, 'num_classes', 0):
        raise ValueError(f'{options.config} must make a TimmClassifier, but makes a {type(model.model).__name__}')
    batch, pixels = _prepared(model, Path(options.picture))
    scores = model.model(batch, mode='tensor').softmax(1)[0].tolist()
    chosen = [_number(name, model.classes) for name in options.classes or ()] or [scores.index(max(scores))]
    path = look_maps.place(options.out, f'cam_{Path(options.picture).stem}.png', options.picture)
    rows, columns = look_maps.grid(len(chosen) + 1)
    size = 3.2 * columns, (3.2 * pixels.shape[0] / pixels.shape[1] + 0.5) * rows + 0.5
    with plots.subplots(str(path), rows, columns, figsize=size, squeeze=False) as axes:
        for axis in axes.flat:
            axis.axis('off')
        look_maps.panel(axes.flat[0], pixels, Path(options.picture).name)
        for axis, number in zip(axes.flat[1:], chosen, strict=False):
            shown = show_cam_on_image(
                pixels.astype('float32') / 255, activation(model.model.model, batch, number), True
            )
            look_maps.panel(axis, shown, f'{model.classes[number].split(",")[0]}, {scores[number]:.1%}')
        title = f'Grad-CAM at {target(model.model.model)}, {look_maps.weights(options.checkpoint)}'
        look_maps.headline(axes[0, 0].figure, title, columns)
    return f'what speaks for {len(chosen)} of {len(model.classes)} classes is in {path}'


def activation(model: Any, batch: 'Tensor', number: int) -> 'np.ndarray':
    """Grad-CAM of the last feature map for a class.

    cam = relu(sum over channels c of mean(d y / d map_c) map_c), from 0 to 1 and as large as the picture

    Args:
        model: A timm model in eval mode.
        batch: One picture (1, C, H, W).
        number: The class, whose logit is y.

    Returns:
        Array (H, W).

    Source: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization,
        arXiv 1610.02391.

    Raises:
        ValueError: The model has no feature maps.
    """
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    layer = model.get_submodule(target(model))
    with GradCAM(model=model, target_layers=[layer], reshape_transform=_as_map(model)) as cam:
        return cam(input_tensor=batch, targets=[ClassifierOutputTarget(number)])[0]


def target(model: Any) -> str:
    """Module that gives the last feature map.

    Raises:
        ValueError: The model says of none.
    """
    info = getattr(model, 'feature_info', None) or []
    if not len(info):
        raise ValueError(f'{type(model).__name__} must have feature maps, but has none')
    return info[-1]['module']


def _as_map(model: Any) -> 'Callable[[Tensor], Tensor]':
    """Function that makes a map (1, C, h, w) of what the layer gives; networks of spikes: the mean over time."""

    def reshape(x: 'Tensor') -> 'Tensor':
        if x.ndim == 3:  # tokens
            height, width = model.patch_embed.grid_size
            return x[:, -height * width :].unflatten(1, (height, width)).permute(0, 3, 1, 2)
        x = x.flatten(0, -4).mean(0, keepdim=True)
        return x.permute(0, 3, 1, 2) if getattr(model, 'output_fmt', 'NCHW') == 'NHWC' else x

    return reshape


def _prepared(model: 'predict.Predictor', path: Path) -> tuple['Tensor', 'np.ndarray']:
    """Picture as the network gets it, and its pixels in red, green and blue."""
    data = model.prepared(path)
    preprocessor = model.model.data_preprocessor
    batch = preprocessor({'inputs': [data['inputs']], 'data_samples': [data['data_samples']]})['inputs']
    pixels = data['inputs'].permute(1, 2, 0).numpy()
    return batch, pixels[..., ::-1] if preprocessor.to_rgb else pixels


def _number(name: str, classes: list[str]) -> int:
    """Place of a class, which may be called by the first of its names.

    Raises:
        ValueError: There is none of that name.
    """
    for number, own in enumerate(classes):
        if name in (own, own.split(',')[0]):
            return number
    near = difflib.get_close_matches(name, classes, n=3)
    hint = f'did you mean {", ".join(near)}?' if near else f'there are {", ".join(classes[:20])}'
    raise ValueError(f'--classes: the model has no class {name!r}; {hint}')
