"""A convolution and the batch normalisation after it, and what becomes of the pair in a deployed model."""

from typing import Any

import torch
from torch import nn

__all__ = ['Affine', 'BatchNorm2d', 'ConvNorm', 'batch_norm_affine', 'fuse_conv_norm', 'require_eval']


def require_eval(module: nn.Module) -> None:
    """Refuse to fold a module whose batch statistics still change.

    Raises:
        ValueError: `module` is in training mode.
    """
    if module.training:
        raise ValueError(
            f'{type(module).__name__} can only be fused in evaluation mode, but it is in training mode: call eval() '
            'first.'
        )


def batch_norm_affine(norm: nn.modules.batchnorm._BatchNorm) -> tuple[torch.Tensor, torch.Tensor]:
    """Per-channel scale and shift (float64) that equal `norm` in evaluation mode.

    scale = gamma / sqrt(var + eps);  shift = beta - mean * scale

    Raises:
        ValueError: `norm` keeps no running statistics, so it depends on the batch and is no fixed map.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError(
            f'{type(norm).__name__} can only be fused with running statistics, but track_running_stats=False was '
            'given: keep this module as it is.'
        )
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.detach().double()
    return scale, shift


@torch.no_grad()
def fuse_conv_norm(conv: nn.Conv2d, norm: nn.modules.batchnorm._BatchNorm) -> nn.Conv2d:
    """One convolution that equals `norm(conv(x))` in evaluation mode; type, device and geometry are kept.

    W' = scale * W;  b' = scale * b + shift, scaled per output channel and computed in float64.
    """
    require_eval(norm)
    scale, shift = batch_norm_affine(norm)
    names = ('in_channels', 'out_channels', 'kernel_size', 'stride', 'padding', 'dilation', 'groups', 'padding_mode')
    geometry: dict[str, Any] = {name: getattr(conv, name) for name in names}
    fused = nn.Conv2d(**geometry, device=conv.weight.device, dtype=conv.weight.dtype).eval()
    assert fused.bias is not None
    fused.weight.copy_(conv.weight.double() * scale[:, None, None, None])
    fused.bias.copy_(shift if conv.bias is None else conv.bias.double() * scale + shift)
    return fused


class ConvNorm(nn.Sequential):
    """Convolution, without a bias by default, then batch normalisation.

    y = BN(W * x)

    timm's ConvNormAct has the same parts, but no `fuse` and an activation of its own.

    Args:
        in_chs: Channels of the input.
        out_chs: Channels of the output.
        kernel_size: Side of the kernel in pixels.
        stride: Step in pixels.
        padding: Zeros at each border in pixels; half the kernel if None.
        dilation: Distance of the taps in pixels.
        groups: Groups of channels that do not mix.
        bias: Whether the convolution has one, as some published weights do.

    Shape:
        (B, in_chs, H, W) -> (B, out_chs, ceil(H / stride), ceil(W / stride)) for odd kernels and the default padding.
    """

    conv: nn.Conv2d
    norm: nn.BatchNorm2d

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        kernel_size: int = 1,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__()
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        padding = dilation * (kernel_size - 1) // 2 if padding is None else padding
        self.conv = nn.Conv2d(
            in_chs, out_chs, kernel_size, stride, padding, dilation=dilation, groups=groups, bias=bias, **dd
        )
        self.norm = nn.BatchNorm2d(out_chs, **dd)

    def fuse(self) -> nn.Conv2d:
        """One convolution with a bias that computes the same."""
        require_eval(self)
        return fuse_conv_norm(self.conv, self.norm)


class Affine(nn.Module):
    """Scale and shift of each channel: what a batch normalisation is in evaluation mode.

    y = weight * x + bias

    Shape:
        (B, C, ...) -> (B, C, ...)
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(bias.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = (-1,) + (1,) * (x.ndim - 2)
        return x * self.weight.view(shape) + self.bias.view(shape)

    def extra_repr(self) -> str:
        return f'{self.weight.numel()}'


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that no convolution precedes; it becomes an `Affine` when fused."""

    @torch.no_grad()
    def fuse(self) -> Affine:
        """A scale and shift of each channel that computes the same."""
        require_eval(self)
        scale, shift = batch_norm_affine(self)
        assert self.running_mean is not None
        dtype = self.running_mean.dtype
        return Affine(scale.to(dtype), shift.to(dtype)).eval()
