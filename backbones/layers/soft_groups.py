"""Soft grouping of the positions of a map by how well their directions agree with those of a few slots.

    L = n t^T / |t|,  A = softmax_N(L),  P = softmax_S(L),  g = A t

for positions t (N, C) and slots n (S, C), which hold their own length and scale. The slots gather g, and P says what
each position gets back of what they make of it.

Paper: Revisiting the Integration of Convolution and Attention for Vision Backbone, arXiv 2411.14429, section 3.

One meaning, two ways to run it: as plain operators, and on a processor with a gradient of its own, which needs fewer
maps of the size of L and t.
"""

from typing import Any

import torch

from .parts import may_run_in_parts

__all__ = ['gather_groups']


def gather_groups(tokens: torch.Tensor, slots: torch.Tensor, tiny: float = 1e-12) -> tuple[torch.Tensor, torch.Tensor]:
    """The equation above; how it runs is chosen by device, type and by tracing.

    Args:
        tokens: Positions (B, N, C).
        slots: Slots (B, S, C).
        tiny: Least length that a position is divided by.

    Returns:
        What the slots gather, g (B, S, C), and the weights P (B, S, N) to spread it with.
    """
    if may_run_in_parts(tokens, slots):
        return _Gather.apply(tokens, slots, tiny)
    return _gather(tokens, slots, tiny)


def _gather(tokens: torch.Tensor, slots: torch.Tensor, tiny: float) -> tuple[torch.Tensor, torch.Tensor]:
    length = torch.linalg.vector_norm(tokens, dim=-1).clamp(min=tiny)
    logits = (slots @ tokens.mT) / length[:, None]  # B S N
    return logits.softmax(-1) @ tokens, logits.softmax(1)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tokens: torch.Tensor, slots: torch.Tensor, tiny: float) -> tuple[torch.Tensor, torch.Tensor]:
        inverse = torch.linalg.vector_norm(tokens, dim=-1).clamp_(min=tiny).reciprocal_()
        logits = torch.bmm(slots, tokens.mT).mul_(inverse[:, None])
        a, p = logits.softmax(-1), logits.softmax(1)
        ctx.save_for_backward(tokens, slots, inverse, a, p)
        ctx.tiny = tiny
        return torch.bmm(a, tokens), p

    @staticmethod
    def backward(ctx, d_g: torch.Tensor, d_p: torch.Tensor) -> tuple[Any, ...]:
        tokens, slots, inverse, a, p = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            found = _gather(tokens, slots, ctx.tiny)
            return *torch.autograd.grad(found, (tokens, slots), (d_g, d_p), create_graph=True), None
        d_logits = torch._softmax_backward_data(torch.bmm(d_g, tokens.mT), a, -1, a.dtype)
        d_logits += torch._softmax_backward_data(d_p.contiguous(), p, 1, p.dtype)
        d_logits *= inverse[:, None]
        d_slots = torch.bmm(d_logits, tokens)
        along = torch.bmm(d_logits.mT, slots)  # by the positions, as if their lengths stayed
        share = (tokens * along).sum(-1) * inverse.square() * (inverse * ctx.tiny < 1)
        return torch.baddbmm(along, a.mT, d_g).addcmul_(tokens, share[..., None], value=-1), d_slots, None
