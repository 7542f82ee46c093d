"""Classification by class tokens that attend to all positions, and by the positions themselves."""

from typing import Any

import torch
from torch import nn

from .attention import Attention
from .mlp import NormMlp

__all__ = ['ClassBlock', 'TokenLabelHead']


class ClassBlock(nn.Module):
    """Class tokens c attend to themselves and to all positions p.

    d = c + attention(LN(c), LN(c || p));  y = d + MLP(LN(d))

    Args:
        dim: Channels C.
        num_heads: Heads of the attention.
        hidden: Channels between the layers of the MLP.
        eps: Added to the variances.

    Shape:
        (B, k, C), (B, N, C) -> (B, k, C)

    Source: CaiT, arXiv 2103.17239, section 3.
    """

    def __init__(self, dim: int, num_heads: int, hidden: int, eps: float = 1e-5, device=None, dtype=None) -> None:
        super().__init__()
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.norm = nn.LayerNorm(dim, eps, **dd)
        self.attn = Attention(dim, num_heads, **dd)
        self.mlp = NormMlp(dim, hidden, eps, **dd)

    def forward(self, classes: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        context = self.norm(torch.cat([classes, positions], 1))
        classes = classes + self.attn(context[:, : classes.shape[1]], context)
        return classes + self.mlp(classes)


class TokenLabelHead(nn.Module):
    """A classifier of class tokens and, with token labels, one that is given every position.

    y = W c + b + max_p (W_aux p + b_aux) / 2

    Args:
        in_features: Width of the class tokens, side by side.
        dim: Channels C of a position.
        num_classes: Outputs.
        token_label: Whether there is the second part.

    Shape:
        (B, in_features), (B, N, C) -> (B, num_classes)

    Source: All Tokens Matter: Token Labeling for Training Better Vision Transformers, arXiv 2104.10858.
    """

    def __init__(
        self, in_features: int, dim: int, num_classes: int, token_label: bool = True, device=None, dtype=None
    ) -> None:
        super().__init__()
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        self.cls = nn.Linear(in_features, num_classes, **dd)
        self.aux = nn.Linear(dim, num_classes, **dd) if token_label else None

    def forward(self, classes: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        y = self.cls(classes)
        return y if self.aux is None else y + 0.5 * self.aux(positions).amax(1)
