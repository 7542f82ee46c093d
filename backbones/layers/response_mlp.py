"""A perceptron whose hidden channels compete over the whole map, and a way to run it for one image at a time.

On a processor the hidden layer of one image stays in the cache, where that of a batch goes through memory several
times. For the backward pass it is kept as it enters the GELU; what the norm and the GELU gave is made again.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .conv_norm import require_eval
from .mlp import fold_affine
from .onednn import product, weight_gradient
from .parts import may_run_in_parts

__all__ = ['ResponseMlp']

EPS = 1e-6  # added to the mean response
POSITIONS = 128  # an image with fewer makes matrices so small that one after the other takes longer


class ResponseMlp(nn.Module):
    """Layer normalisation, then two linear layers with a GELU and a global response normalisation between them.

    h = GELU(W_1 LN(x) + b_1),  g = ||h|| over all positions of an image, per channel
    y = W_2 (h (1 + gamma g / (mean(g) + eps)) + beta) + b_2

    timm's GlobalResponseNorm computes the same in five passes over the map; here it takes two, since what it multiplies
    a channel with is put together first.

    Args:
        dim: Channels of the input and the output.
        hidden: Channels between the linear layers.

    Shape:
        (B, H, W, dim) -> (B, H, W, dim)

    Source: ConvNeXt V2, arXiv 2301.00808, section 3.
    """

    def __init__(self, dim: int, hidden: int, device=None, dtype=None) -> None:
        super().__init__()
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.norm = nn.LayerNorm(dim, **dd)
        self.fc1 = nn.Linear(dim, hidden, **dd)
        self.act = nn.GELU()
        self.gamma = nn.Parameter(torch.zeros(hidden, **dd))
        self.beta: nn.Parameter | None = nn.Parameter(torch.zeros(hidden, **dd))
        self.fc2 = nn.Linear(hidden, dim, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = (*_values(self.norm), *_values(self.fc1), self.gamma, self.beta, *_values(self.fc2))
        if may_run_in_parts(x, *values) and x[0, ..., 0].numel() >= POSITIONS:
            return _ByImage.apply(x, *values, self.norm.eps, torch.is_grad_enabled() and x.requires_grad)
        h = self.act(self.fc1(self.norm(x)))
        scale = (1 + self.gamma * _response(h.flatten(1, 2))[2]).to(h.dtype)[:, None, None]  # B 1 1 hidden
        h = h * scale if self.beta is None else torch.addcmul(self.beta.to(h.dtype), h, scale)
        return self.fc2(h)

    @torch.no_grad()
    def fuse(self) -> 'ResponseMlp':
        """The same with the norm's weight and bias, and beta, inside the linear layers."""
        require_eval(self)
        fused = copy.deepcopy(self)
        fused.norm, fused.fc1 = fold_affine(self.norm, self.fc1)
        if self.beta is not None:
            fused.fc2.bias.copy_(self.fc2.bias.double() + self.fc2.weight.double() @ self.beta.double())
            fused.beta = None
        return fused


def _values(layer: nn.LayerNorm | nn.Linear) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    return layer.weight, layer.bias


def _response(h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """g, mean(g) + eps and their ratio of hidden positions (..., N, hidden), in float32 at least."""
    energy = h.square().sum(-2, dtype=torch.promote_types(h.dtype, torch.float32))
    g = energy.clamp(min=torch.finfo(energy.dtype).tiny).sqrt()  # a channel of zeros has no slope, but a gradient of 0
    mean = g.mean(-1, keepdim=True) + EPS
    return g, mean, g / mean


class _ByImage(torch.autograd.Function):
    """The equation for one image after the other; a fused layer, which lacks parameters, has no gradient here."""

    @staticmethod
    def forward(ctx, x, weight, bias, w1, b1, gamma, beta, w2, b2, eps: float, keep: bool) -> torch.Tensor:
        images = x.flatten(1, 2)  # B N C
        hidden, out = [], []
        shift = b2 if beta is None else torch.addmv(b2, w2, beta)
        for image in images:
            h = product(F.layer_norm(image, image.shape[1:], weight, bias, eps), w1, b1, gelu=not keep)
            if keep:
                hidden.append(h)
                h = F.gelu(h)
            out.append(product(h.mul_(1 + gamma * _response(h)[2]), w2, shift))
        if keep:
            ctx.save_for_backward(x, weight, bias, w1, b1, gamma, beta, w2, b2, *hidden)
            ctx.eps = eps
        return torch.stack(out).view(x.shape)

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        saved = ctx.saved_tensors
        values, hidden = list(saved[:9]), saved[9:]
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            return *_again(values, ctx.eps, grad), None, None
        x, weight, bias, w1, _, gamma, beta, w2, _ = values
        images, above = x.flatten(1, 2), grad.flatten(1, 2)
        below = torch.empty_like(images)
        slopes = [torch.zeros_like(value) for value in values[1:]]
        d_weight, d_bias, d_w1, d_b1, d_gamma, d_beta, d_w2, d_b2 = slopes
        for i, image in enumerate(images):
            h = F.gelu(hidden[i])
            g, mean, ratio = _response(h)
            scale = 1 + gamma * ratio
            outer = weight_gradient(above[i], h)  # C hidden
            d_w2.addcmul_(outer, scale)
            d_b2 += above[i].sum(0)
            d_scale = (outer * w2).sum(0)
            d_gamma += d_scale * ratio
            d_ratio = d_scale * gamma
            d_g = (d_ratio - (d_ratio * ratio).mean()) / mean
            d_h = product(above[i], w2.t()).mul_(scale).addcmul_(h, d_g / g)
            d_z = torch.ops.aten.gelu_backward(d_h, hidden[i])
            y, center, rstd = torch.native_layer_norm(image, image.shape[1:], weight, bias, ctx.eps)
            d_w1.addmm_(d_z.t(), y)
            d_b1 += d_z.sum(0)
            below[i], d_scale, d_shift = torch.ops.aten.native_layer_norm_backward(
                product(d_z, w1.t()), image, image.shape[1:], center, rstd, weight, bias, [True] * 3
            )
            d_weight += d_scale
            d_bias += d_shift
        d_w2.addr_(d_b2, beta)
        d_beta.copy_(w2.t() @ d_b2)
        return below.view(x.shape), *slopes, None, None


def _again(values: list[torch.Tensor], eps: float, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Gradients of the equation, as operators that have gradients themselves."""
    x, weight, bias, w1, b1, gamma, beta, w2, b2 = values
    h = F.gelu(F.linear(F.layer_norm(x, x.shape[-1:], weight, bias, eps), w1, b1))
    h = h * (1 + gamma * _response(h.flatten(1, 2))[2])[:, None, None]
    return torch.autograd.grad(F.linear(h + beta, w2, b2), values, grad, create_graph=True)
