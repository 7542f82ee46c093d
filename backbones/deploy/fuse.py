"""Re-parameterisation of any model for inference: the same function with fewer operators.

A module that knows a smaller equal of itself offers it by `fuse()`; this file is the only one that walks a model, calls
those, and folds what no single module can see: a normalisation into the convolution or linear layer in front of it.
All arithmetic runs in float64 and is rounded once, to the type of the layer that is kept.
"""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from ..layers.conv_norm import Affine, batch_norm_affine

__all__ = ['fold_norm', 'fuse']


def fuse(model: nn.Module) -> nn.Module:
    """The model with everything folded that can be folded exactly, as a new module.

    The model itself stays as it is. Modules with a method `fuse()` are replaced by what it returns (`reparameterize()`
    and `switch_to_deploy()`, timm's and mmpretrain's names, are called on copies); then each BatchNorm goes into the
    convolution or linear layer in front of it where the parent's `forward` shows that nothing lies between; every
    other BatchNorm becomes a per-channel scale and shift. A module that carries hooks is kept, since what it gives is
    watched, and only its insides are folded. A second call changes nothing.

    Args:
        model: Any model in eval mode: a classifier, a feature extractor, a detector.

    Returns:
        The fused model: same type of parameters, same device, in eval mode.

    Raises:
        ValueError: The model, or a part of it, is in training mode.
    """
    training = [name or type(module).__name__ for name, module in model.named_modules() if module.training]
    if training:
        raise ValueError(
            f'fuse needs a model in eval mode, but {len(training)} of its modules are in training mode '
            f'(first: {training[0]!r}): call model.eval() first.'
        )
    root = nn.ModuleDict({'model': copy.deepcopy(model)})
    with torch.no_grad():
        _replace(root, _fused_leaf, {})
        _fold_pairs(root)
        _replace(root, _scale_shift, {})
    for module in root.modules():  # new modules start in training mode; .eval() could be somebody's own method
        module.training = False
    return root['model']


def fold_norm(layer: Any, norm: Any) -> nn.Module | None:
    """One layer that does what `layer` and then `norm`, a BatchNorm in eval mode, do; None where that is not certain.

    Layer may be a convolution, a transposed convolution or a linear layer. A subclass with a `forward` of its own
    (timm's convolutions with "same" padding, those that standardise their weights) is tried out on random numbers.

    Args:
        layer: The layer in front.
        norm: The normalisation behind it.

    Returns:
        A new layer of the same class, type and device, or None.
    """
    affine = _affine(norm)
    if affine is None or not _is_foldable(layer) or _is_watched(layer) or _is_watched(norm):
        return None
    scale, shift = affine
    channels = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    if set(dict(layer.named_parameters())) - {'weight', 'bias'} or channels != scale.numel():
        return None
    folded = copy.deepcopy(layer)
    weight = layer.weight.double()
    bias = torch.zeros_like(shift) if layer.bias is None else layer.bias.double()
    if isinstance(layer, _ConvTransposeNd):  # weight (in, out / groups, ...)
        groups = layer.groups
        factor = scale.reshape(groups, 1, -1).expand(-1, weight.shape[0] // groups, -1).flatten(0, 1)
        factor = factor.reshape(*weight.shape[:2], *[1] * (weight.ndim - 2))
    else:
        factor = scale.reshape(-1, *[1] * (weight.ndim - 1))
    folded.weight = nn.Parameter((weight * factor).to(layer.weight.dtype), layer.weight.requires_grad)
    folded.bias = nn.Parameter((bias * scale + shift).to(layer.weight.dtype), layer.weight.requires_grad)
    plain = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    if type(layer) in plain or _agree(layer, norm, folded):
        return folded
    return None


def _affine(norm: nn.Module) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Scale and shift, float64 (C,), of a BatchNorm with running statistics; None for anything else."""
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
        return None
    return batch_norm_affine(norm)


def _agree(layer: Any, norm: Any, folded: nn.Module) -> bool:
    """Whether `folded` computes norm(layer(x)) for one random x."""
    reference = layer.weight
    if isinstance(layer, nn.Linear):
        shape = (3, layer.in_features)
    else:
        reach = [d * (k - 1) + s + 1 for d, k, s in zip(layer.dilation, layer.kernel_size, layer.stride, strict=True)]
        shape = (1, layer.in_channels, *reach)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64).to(reference)
    bare = copy.copy(norm)  # timm's BatchNormAct2d also has an activation: compare in front of it
    bare.__class__ = {3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(x.ndim, nn.BatchNorm1d)
    expected, given = bare(layer(x)).double(), folded(x).double()
    return bool((expected - given).abs().max() <= 1e3 * torch.finfo(reference.dtype).eps * expected.abs().max())


def _is_watched(module: nn.Module) -> bool:
    """Whether hooks or parametrisations hang on the module, so that replacing it would change what they see or do."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks) or torch.nn.utils.parametrize.is_parametrized(module)


def _method(module: nn.Module, name: str):
    """The method of that name if its class has one that needs no arguments (a submodule called `fuse` is none)."""
    if not inspect.isfunction(inspect.getattr_static(type(module), name, None)):
        return None
    method = getattr(module, name)
    parameters = inspect.signature(method).parameters.values()
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return None if required else method


def _replace(module: nn.Module, swap: Callable[[nn.Module], nn.Module], done: dict[nn.Module, nn.Module]) -> None:
    """Put `swap(child)` in the place of every module below `module`, shared modules once; go into those that stay."""
    for name, child in module._modules.items():
        if child is None:
            continue
        if child not in done:
            done[child] = swap(child)
            if done[child] is child:
                _replace(child, swap, done)
        module._modules[name] = done[child]


def _fused_leaf(child: nn.Module) -> nn.Module:
    """What the module itself offers in its place, else the module.

    Tried on a copy and looked at before it is taken: some of timm's own work in place and return nothing (RepVit), give
    float32 whatever they are, or fail when called twice (FastVit). Such a child stays, and its pairs are folded later.
    """
    if _is_watched(child):
        return child
    for name in ('fuse', 'reparameterize', 'switch_to_deploy'):
        if _method(child, name) is None:
            continue
        fused = copy.deepcopy(child)
        try:
            returned = getattr(fused, name)()
        except AttributeError:
            return child
        fused = returned if name == 'fuse' else fused
        return fused if isinstance(fused, nn.Module) and _kinds(fused) <= _kinds(child) else child
    return child


def _kinds(module: nn.Module) -> set[tuple[torch.dtype, torch.device]]:
    """Types and devices of a module's parameters."""
    return {(parameter.dtype, parameter.device) for parameter in module.parameters()}


def _fold_pairs(root: nn.Module) -> None:
    """Fold layer and BatchNorm wherever one child's output goes into the other, and nowhere else.

    Who feeds whom is read off the parent's `forward`, traced with its children as boxes; where that cannot be traced
    (its way depends on values), nothing is folded.
    """
    for parent in list(root.modules()):
        if getattr(parent, 'efficient_conv_bn_eval_forward', None) is not None:
            # OpenMMLab's folding on the fly, which ours replaces
            parent.efficient_conv_bn_eval_forward = None  # type: ignore[assignment]
        children = [child for child in parent._modules.values() if child is not None]
        if any(isinstance(child, _BatchNorm) for child in children) and any(map(_is_foldable, children)):
            for layer, norm in _pairs(parent):
                _fold_into(parent, layer, norm)


def _is_foldable(layer: nn.Module) -> bool:
    return isinstance(layer, (_ConvNd, nn.Linear))


class _Tracer(torch.fx.Tracer):
    """Tracer that looks into no child."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _pairs(parent: nn.Module) -> list[tuple[str, str]]:
    """Names (layer, norm) of children where norm(layer(x)) is all that happens to the layer's output."""
    parameters = inspect.signature(parent.forward).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    try:
        graph = _Tracer().trace(parent, concrete_args=defaults)
    except Exception:  # whatever a foreign forward raises when it is given a placeholder: then it is not known
        return []
    calls = [node for node in graph.nodes if node.op == 'call_module']
    targets = [node.target for node in calls]
    pairs = []
    for norm in calls:
        layer = norm.args[0] if len(norm.args) == 1 and not norm.kwargs else None
        if not isinstance(layer, torch.fx.Node) or layer.op != 'call_module' or set(layer.users) != {norm}:
            continue
        once = targets.count(norm.target) == 1 and targets.count(layer.target) == 1
        if once and {norm.target, layer.target} <= set(parent._modules):
            pairs.append((layer.target, norm.target))
    return pairs


def _fold_into(parent: nn.Module, layer: str, norm: str) -> None:
    """Replace two children, one behind the other, by their fold and by what is left of the norm (its activation)."""
    rest = _activation(parent._modules[norm])
    folded = None if rest is None else fold_norm(parent._modules[layer], parent._modules[norm])
    if folded is not None:
        parent._modules[layer], parent._modules[norm] = folded, rest


def _activation(norm: Any) -> nn.Module | None:
    """What a BatchNorm does besides normalising, as a module; None for a class that is not known."""
    if type(norm) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm):
        return nn.Identity()
    children = set(norm._modules)
    if children == {'drop', 'act'}:  # timm's BatchNormAct2d, SyncBatchNormAct
        rest = [norm.drop, norm.act]
        rest = [module for module in rest if not isinstance(module, nn.Identity)]
        return nn.Sequential(*rest) if len(rest) > 1 else (rest or [nn.Identity()])[0]
    if not children and type(norm).forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward):
        return nn.Identity()
    return None


def _scale_shift(norm: Any) -> nn.Module:
    affine = _affine(norm)
    rest = None if affine is None or _is_watched(norm) else _activation(norm)
    if affine is None or rest is None:
        return norm
    dtype = norm.running_mean.dtype if norm.weight is None else norm.weight.dtype
    scale_shift = Affine(*(values.to(dtype) for values in affine))
    return scale_shift if isinstance(rest, nn.Identity) else nn.Sequential(scale_shift, rest)
